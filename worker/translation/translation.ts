import { parseJson, isObject } from '../providers/error-body.ts'
import type { CallOutcome, Provider, StreamSink } from '../providers/provider.ts'
import { createSseReader, formatSse, type SseEvent } from '../../shared/sse.ts'

type JsonObject = Record<string, unknown>

/**
 * Which chat completions a provider is asked for. `plain` are OpenAI's, and many servers refuse whatever else stands in them.
 * `rich` ones, which our own adapters of other APIs read, may also have `cache_control` at a part, images in what a tool
 * gave, and `thinking_blocks`.
 */
export type ChatDialect = 'plain' | 'rich'

/** How requests of one endpoint are asked as chat completions, and chat completions told as its answers. */
export type Translation = {
  /** The request as a chat completion's, and what of it that can't say. */
  request: (body: JsonObject, dialect: ChatDialect) => { body: JsonObject; warnings: string[] }
  /** A whole chat completion as the answer to `request`. */
  answer: (completion: JsonObject, request: JsonObject) => JsonObject
  /** The events of a streamed answer: of each chat chunk as it comes, and at the end. */
  stream: (request: JsonObject) => StreamTranslation
}

export type StreamTranslation = {
  chunk: (chunk: JsonObject) => SseEvent[]
  end: () => SseEvent[]
  /** All that was told as a whole answer; before the end, what it is so far. */
  answer: () => JsonObject
}

/** A provider that is asked for chat completions in place of what its API has not. */
export function translated(
  provider: Provider,
  translation: Translation,
  dialect: ChatDialect = 'plain',
): Provider {
  return {
    async call(call) {
      const { body, warnings } = translation.request(call.body, dialect)
      const events = call.sink && translation.stream(call.body)
      const sink = call.sink && events ? translatedSink(call.sink, events) : null
      const outcome = await provider.call({ ...call, endpoint: 'chat', body, sink })
      if (outcome.kind === 'reply' && call.sink && events) write(call.sink, events.end())
      const answer = (completion: Buffer) =>
        events?.answer() ?? translation.answer(readCompletion(completion), call.body)
      return translateOutcome(outcome, answer, warnings)
    },
  }
}

function translatedSink(sink: StreamSink, events: StreamTranslation): StreamSink {
  const read = createSseReader()
  return {
    write(bytes) {
      const chunks = read(bytes).map(({ data }) => parseJson(data))
      write(
        sink,
        chunks.filter(isObject).flatMap((chunk) => events.chunk(chunk)),
      )
    },
  }
}

function write(sink: StreamSink, events: readonly SseEvent[]): void {
  if (events.length > 0) sink.write(Buffer.from(events.map(formatSse).join('')))
}

/** @param tell The answer to a chat completion's body. What was streamed is told again, whatever order its pieces had. */
function translateOutcome(
  outcome: CallOutcome,
  tell: (completion: Buffer) => JsonObject,
  warnings: readonly string[],
): CallOutcome {
  const answer = (completion: Buffer) => Buffer.from(JSON.stringify(tell(completion)))
  if (outcome.kind === 'error') {
    return outcome.partial ? { ...outcome, partial: answer(outcome.partial) } : outcome
  }
  const { reply } = outcome
  const all = [...(reply.warnings ?? []), ...warnings]
  return { kind: 'reply', reply: { ...reply, body: answer(reply.body), warnings: all } }
}

function readCompletion(body: Buffer): JsonObject {
  const parsed = parseJson(body)
  return isObject(parsed) ? parsed : {}
}
