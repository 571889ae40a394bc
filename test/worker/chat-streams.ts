import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { createEventStream } from '../../worker/providers/event-stream.ts'
import { formatSse, type SseEvent } from '../../shared/sse.ts'
import type { Translation } from '../../worker/translation/translation.ts'

type JsonObject = Record<string, unknown>

/** What a model says, in the order of a whole message. */
export type Said = {
  reasoning_content?: string
  content?: string
  refusal?: string
  calls?: { id: string; name: string; text: string }[]
  finish_reason?: string
}

const HEAD = { id: 'chatcmpl-Ab1', created: 1_700_000_000, model: 'served-model' }
export const USAGE = {
  prompt_tokens: 20,
  completion_tokens: 9,
  total_tokens: 29,
  prompt_tokens_details: { cached_tokens: 8 },
  completion_tokens_details: { reasoning_tokens: 4 },
}

/** A chat completion that says it in one piece. */
export function completionOf({ calls, finish_reason = 'stop', ...words }: Said): JsonObject {
  const tool_calls = calls?.map(({ id, name, text }) => ({
    id,
    type: 'function',
    function: { name, arguments: text },
  }))
  const message = { role: 'assistant', content: null, ...words, ...(tool_calls ? { tool_calls } : {}) }
  return {
    ...HEAD,
    object: 'chat.completion',
    choices: [{ index: 0, message, logprobs: null, finish_reason }],
    usage: USAGE,
  }
}

/** One chunk of a stream. */
export function chunkOf(delta: JsonObject, finish_reason: string | null = null): JsonObject {
  return { ...HEAD, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] }
}

/**
 * The chunks that say it: texts cut at every `sizes` characters in turn, calls one after the other or, with `turns`, piece
 * by piece in that order of calls.
 */
export function chunksOf(
  said: Said,
  sizes: readonly number[] = [3],
  turns: readonly number[] = [],
): JsonObject[] {
  const cut = createCut(sizes)
  const words = (['reasoning_content', 'content', 'refusal'] as const).flatMap((name) =>
    cut(said[name] ?? '').map((text) => chunkOf({ [name]: text })),
  )
  return [
    { ...HEAD, id: '', choices: [], prompt_filter_results: [] },
    chunkOf({ role: 'assistant', content: '' }),
    ...words,
    ...interleave(
      (said.calls ?? []).map((call, index) => callChunks(call, index, cut)),
      turns,
    ),
    chunkOf({}, said.finish_reason ?? 'stop'),
    { ...HEAD, object: 'chat.completion.chunk', choices: [], usage: USAGE },
  ]
}

function callChunks(
  { id, name, text }: { id: string; name: string; text: string },
  index: number,
  cut: (text: string) => string[],
): JsonObject[] {
  const first = { index, id, type: 'function', function: { name, arguments: '' } }
  const rest = cut(text).map((piece) => ({ index, function: { arguments: piece } }))
  return [first, ...rest].map((call) => chunkOf({ tool_calls: [call] }))
}

/** Takes from the queues as `turns` says; a queue is begun only when those before it were. */
function interleave(queues: JsonObject[][], turns: readonly number[]): JsonObject[] {
  const left = queues.map((queue) => [...queue])
  const begun = new Set<number>()
  const taken = turns.flatMap((turn) => {
    const at = Math.min(turn % Math.max(left.length, 1), begun.size)
    begun.add(at)
    return left[at]?.splice(0, 1) ?? []
  })
  return [...taken, ...left.flat()]
}

function createCut(sizes: readonly number[]): (text: string) => string[] {
  let turn = 0
  return (text) => {
    const pieces: string[] = []
    for (let at = 0; at < text.length; turn += 1) {
      const size = sizes[turn % sizes.length] ?? 1
      pieces.push(text.slice(at, at + size))
      at += size
    }
    return pieces
  }
}

const json = fc.dictionary(fc.string({ maxLength: 6 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 })
const word = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' })

/** Any answer of a model. */
export const anySaid: fc.Arbitrary<Said> = fc.record(
  {
    reasoning_content: word,
    content: word,
    refusal: word,
    calls: fc
      .array(fc.record({ name: fc.constantFrom('a', 'b'), args: json }), { maxLength: 4 })
      .map((calls) =>
        calls.map(({ name, args }, n) => ({ id: `call_${n}`, name, text: JSON.stringify(args) })),
      ),
    finish_reason: fc.constantFrom('stop', 'tool_calls', 'content_filter'),
  },
  { requiredKeys: [] },
)

/** Any way to cut it, and to mix its calls. */
export const anyCut = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
  turns: fc.array(fc.nat(3), { maxLength: 30 }),
})

/** All events of a stream of chunks, and the whole answer at its end. */
export function streamOf(
  translation: Translation,
  chunks: readonly JsonObject[],
  request: JsonObject = {},
): { events: SseEvent[]; answer: JsonObject } {
  const stream = translation.stream(request)
  const events = [...chunks.flatMap((chunk) => stream.chunk(chunk)), ...stream.end()]
  return { events, answer: stream.answer() }
}

/** The data of events, whose names must be their types. */
export function dataOf(events: readonly SseEvent[]): JsonObject[] {
  return events.map(({ event, data }) => {
    const parsed = JSON.parse(data) as JsonObject // our own events
    if (parsed['type'] !== event) throw new Error(`${event} is named otherwise in its data.`)
    return parsed
  })
}

/** What is put together of a stream that outlived its worker. */
export function foldOf(endpoint: EndpointName, events: readonly SseEvent[]): unknown {
  const stream = createEventStream(endpoint, { write: () => undefined })
  for (const event of events) stream.take(Buffer.from(formatSse(event)))
  const end = stream.end()
  return end.kind === 'whole' ? end.whole : end.kind
}

/** Serves the events on 127.0.0.1 while `use` reads them. */
export async function served<T>(events: readonly SseEvent[], use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const event of events) response.write(formatSse(event))
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}
