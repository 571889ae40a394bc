import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { parseJsonLossless } from '../../shared/lossless-json.ts'
import { createSseReader, formatSse, type SseEvent } from '../../shared/sse.ts'
import { readHeader, type AnswerHeaders } from '../header-time.ts'
import { OutboundError } from '../outbound-error.ts'
import { breakOf, isTold } from './answers.ts'
import { isObject } from './error-body.ts'
import type { StreamSink } from './provider.ts'
import { createFold } from './stream-fold.ts'

type JsonObject = Record<string, unknown>

/** How a stream ended: with a whole answer; with an error that the provider told in it; or it just stopped. */
export type StreamEnd =
  | { kind: 'whole'; whole: JsonObject; body: Buffer }
  | { kind: 'failed'; said: Buffer }
  | { kind: 'cut' }

export type EventStream = {
  /**
   * Takes bytes as they come; what is complete goes to the sink.
   * @throws {OutboundError} `too_large` for an event without an end.
   */
  take: (piece: Buffer) => void
  end: () => StreamEnd
  /** What has come, as a whole answer. Null while nothing has been passed on, or nothing that is a part of one. */
  partial: () => Buffer | null
  hasBegun: () => boolean
}

/** Whether an answer is a stream of events. */
export function isEventStream({ status, headers }: { status: number; headers: AnswerHeaders }): boolean {
  const type = readHeader(headers, 'content-type') ?? ''
  return status >= 200 && status < 300 && type.toLowerCase().startsWith('text/event-stream')
}

/**
 * Passes a provider's stream on, byte for byte, in pieces that end where an event ends, and puts the answer together
 * meanwhile. Nothing goes on before the first event with data: an error that comes instead can still be retried. An error in
 * the stream is held back, and all after it.
 */
export function createEventStream(endpoint: EndpointName, sink: StreamSink): EventStream {
  const split = createSplitter()
  const read = createSseReader()
  const fold = createFold(endpoint)
  const hasDone = endpoint === 'chat' || endpoint === 'completions'
  let held: Buffer[] = []
  let isPassedOn = false
  let isDone = false
  let said: JsonObject | null = null

  function passOn(bytes: Buffer): void {
    sink.write(held.length > 0 ? Buffer.concat([...held, bytes]) : bytes)
    held = []
    isPassedOn = true
  }

  function takeEvents(bytes: Buffer): void {
    if (said) return
    const events = read(bytes)
    const fault = events.findIndex((event) => !takeEvent(event))
    const sound = fault === -1 ? events : events.slice(0, fault)
    if (!isPassedOn && !sound.some(({ event }) => event !== 'ping')) {
      // What says nothing yet, comments and Anthropic's pings, waits for the first event that does.
      held.push(bytes)
    } else if (fault === -1) passOn(bytes)
    else if (fault > 0) passOn(Buffer.from(sound.map(formatSse).join('')))
  }

  /** @returns false when the event tells of an error. */
  function takeEvent({ event, data }: SseEvent): boolean {
    if (data === '[DONE]') {
      isDone = true
      return true
    }
    const value = parseEvent(data)
    if (!isObject(value)) return true
    said = errorIn(event, value)
    if (said) return false
    fold.add(value)
    return true
  }

  return {
    take(piece) {
      const complete = split.take(piece)
      if (complete) takeEvents(complete)
    },
    end() {
      const rest = split.rest()
      if (rest.length > 0) takeEvents(Buffer.concat([rest, Buffer.from('\n\n')]))
      if (said) return { kind: 'failed', said: Buffer.from(JSON.stringify({ error: said })) }
      const whole = fold.whole()
      if (!whole || !(fold.isFinished() || isDone)) return { kind: 'cut' }
      // Not all providers say that they are done, and clients wait for it.
      if (hasDone && !isDone) passOn(Buffer.from(formatSse({ data: '[DONE]' })))
      return { kind: 'whole', whole, body: Buffer.from(JSON.stringify(whole)) }
    },
    partial() {
      const whole = isPassedOn ? fold.whole() : null
      return whole && Buffer.from(JSON.stringify(whole))
    },
    hasBegun: () => isPassedOn,
  }
}

// Its numbers go into the whole answer as they were told.
function parseEvent(data: string): unknown {
  try {
    return parseJsonLossless(data)
  } catch {
    return undefined
  }
}

/** The error that an event tells of, in OpenAI's, Anthropic's or OpenRouter's way; null when it tells of none. */
function errorIn(name: string | undefined, event: JsonObject): JsonObject | null {
  const { type, error, response } = event
  if (isTold(error)) return isObject(error) ? error : { message: String(error) }
  if (type === 'response.failed' && isObject(response) && isObject(response['error']))
    return response['error']
  // The Responses API has the error's fields in the event itself.
  if (name === 'error' || type === 'error') return event
  const broken = breakOf(event)
  return isObject(broken) ? broken : null
}

/** Cuts bytes where an event ends: behind a blank line. Each byte is looked at once, whatever the size of an event. */
function createSplitter() {
  let parts: Buffer[] = []
  let partsBytes = 0
  let tail: Buffer = Buffer.alloc(0)
  return {
    take(piece: Buffer): Buffer | null {
      // As most pieces are: whole events.
      if (parts.length === 0 && piece.at(-1) === LINE_FEED && piece.at(-2) === LINE_FEED) return piece
      // A blank line may lie across two pieces.
      const seen = Buffer.concat([tail, piece])
      const end = Math.max(...BLANK_LINES.map((blank) => endOf(seen, blank))) - tail.length
      if (end <= 0) {
        parts.push(piece)
        partsBytes += piece.length
        if (partsBytes > EVENT_BYTES_MAX) {
          throw new OutboundError('too_large', true, `An event is larger than ${EVENT_BYTES_MAX} bytes.`)
        }
        tail = seen.subarray(-TAIL_BYTES)
        return null
      }
      const complete = Buffer.concat([...parts, piece.subarray(0, end)])
      const rest = piece.subarray(end)
      parts = rest.length > 0 ? [rest] : []
      partsBytes = rest.length
      tail = rest.subarray(-TAIL_BYTES)
      return complete
    },
    rest: () => Buffer.concat(parts),
  }
}

const BLANK_LINES = ['\n\n', '\r\n\r\n', '\r\r']
const TAIL_BYTES = 3
/** As large as an answer in one piece may be: the last event of a Response holds all of it. */
const EVENT_BYTES_MAX = 10 * 1024 * 1024
const LINE_FEED = 0x0a

function endOf(bytes: Buffer, blank: string): number {
  const at = bytes.lastIndexOf(blank)
  return at === -1 ? 0 : at + blank.length
}
