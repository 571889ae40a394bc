import { parseJson, isObject } from '../providers/error-body.ts'
import type { CallOutcome, Provider, ProviderCall, StreamSink } from '../providers/provider.ts'
import { createSseReader, formatSse, type SseEvent } from '../../shared/sse.ts'

type JsonObject = Record<string, unknown>

/** How requests of one endpoint are asked as chat completions, and chat completions told as its answers. */
export type Translation = {
  /** The request as a chat completion's, and what of it that can't say. */
  request: (body: JsonObject) => { body: JsonObject; warnings: string[] }
  /** A whole chat completion as the answer to `request`. */
  answer: (completion: JsonObject, request: JsonObject) => JsonObject
  /** The events of a streamed answer: of each chat chunk as it comes, and at the end. */
  stream: (request: JsonObject) => StreamTranslation
}

export type StreamTranslation = { chunk: (chunk: JsonObject) => SseEvent[]; end: () => SseEvent[] }

/** A provider that is asked for chat completions in place of what its API has not. */
export function translated(provider: Provider, translation: Translation): Provider {
  return {
    async call(call) {
      const { body, warnings } = translation.request(call.body)
      const events = call.sink && translation.stream(call.body)
      const sink = call.sink && events ? translatedSink(call.sink, events) : null
      const outcome = await provider.call({ ...call, endpoint: 'chat', body, sink })
      if (outcome.kind === 'reply' && call.sink && events) write(call.sink, events.end())
      return translateOutcome(outcome, translation, call, warnings)
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

function translateOutcome(
  outcome: CallOutcome,
  translation: Translation,
  call: ProviderCall,
  warnings: readonly string[],
): CallOutcome {
  const answer = (completion: Buffer) => {
    const parsed = parseJson(completion)
    return Buffer.from(JSON.stringify(translation.answer(isObject(parsed) ? parsed : {}, call.body)))
  }
  if (outcome.kind === 'error') {
    return outcome.partial ? { ...outcome, partial: answer(outcome.partial) } : outcome
  }
  const { reply } = outcome
  const all = [...(reply.warnings ?? []), ...warnings]
  return { kind: 'reply', reply: { ...reply, body: answer(reply.body), warnings: all } }
}
