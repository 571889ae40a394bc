import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { ProviderCall } from '../../worker/providers/provider.ts'
import { eventually } from '../support/eventually.ts'
import { anthropicStage } from './family-stage.ts'
import { completionOf, createKeepingSink, SSE, sse } from './model-calls.ts'

const stage = anthropicStage()
const { upstream } = stage
const BODY = { model: 'group', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 50 }
const ask = (body: Record<string, unknown>, rest: Partial<ProviderCall> = {}, changes = {}) =>
  stage.ask({ ...BODY, ...body }, changes, rest)
const say = (events: Record<string, unknown>[], tail = '') =>
  upstream.answer(() => ({ kind: 'reply', status: 200, headers: SSE, body: sse(events) + tail }))

// https://docs.anthropic.com/en/docs/build-with-claude/streaming (text, tool use, thinking), shortened.
const START = {
  type: 'message_start',
  message: {
    id: 'msg_014p7gG3wDgGV9EUtLvnow3U',
    type: 'message',
    role: 'assistant',
    model: 'claude-sonnet-4-5',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: 10, cache_read_input_tokens: 30, output_tokens: 1 },
  },
}
const block = (index: number, content_block: object) => ({
  type: 'content_block_start',
  index,
  content_block,
})
const delta = (index: number, fields: object) => ({ type: 'content_block_delta', index, delta: fields })
const stop = (index: number) => ({ type: 'content_block_stop', index })
const end = (stop_reason: string) => [
  { type: 'message_delta', delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 15 } },
  { type: 'message_stop' },
]
const text = (index: number, ...pieces: string[]) => [
  block(index, { type: 'text', text: '' }),
  ...pieces.map((piece) => delta(index, { type: 'text_delta', text: piece })),
  stop(index),
]
const TURN = [
  START,
  { type: 'ping' },
  block(0, { type: 'thinking', thinking: '' }),
  delta(0, { type: 'thinking_delta', thinking: 'Paris ' }),
  delta(0, { type: 'thinking_delta', thinking: 'it is.' }),
  delta(0, { type: 'signature_delta', signature: 'EqQBCg' }),
  stop(0),
  ...text(1, 'Okay', ', let me check.'),
  block(2, { type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: {} }),
  delta(2, { type: 'input_json_delta', partial_json: '' }),
  delta(2, { type: 'input_json_delta', partial_json: '{"city":' }),
  delta(2, { type: 'input_json_delta', partial_json: ' "Paris"}' }),
  stop(2),
  block(3, { type: 'tool_use', id: 'toolu_2', name: 'now', input: {} }),
  stop(3),
  ...end('tool_use'),
]
const call = (index: number, fields: object) => ({ tool_calls: [{ index, ...fields }] })
const begin = (name: string, id: string) => ({ id, type: 'function', function: { name, arguments: '' } })
const TOOLS = ['get_weather', 'now'].map((name) => ({ type: 'function', function: { name } }))

test('a stream is told in chunks, and whole as it would have been in one piece', async () => {
  say(TURN)
  const kept = createKeepingSink()
  const outcome = await ask({ tools: TOOLS, stream_options: { include_usage: true } }, { sink: kept.sink })
  const deltas = kept.chunks().flatMap(({ choices }) => (Array.isArray(choices) ? choices : []))
  expect(deltas.map(({ delta: fields }) => fields)).toEqual([
    { role: 'assistant', content: null, refusal: null },
    { reasoning_content: 'Paris ' },
    { reasoning_content: 'it is.' },
    { thinking_blocks: [{ type: 'thinking', thinking: 'Paris it is.', signature: 'EqQBCg' }] },
    { content: 'Okay' },
    { content: ', let me check.' },
    call(0, begin('get_weather', 'toolu_1')),
    call(0, { function: { arguments: '{"city":' } }),
    call(0, { function: { arguments: ' "Paris"}' } }),
    call(1, begin('now', 'toolu_2')),
    call(1, { function: { arguments: '{}' } }),
    {},
  ])
  expect(deltas.map(({ finish_reason }) => finish_reason).filter(Boolean)).toEqual(['tool_calls'])
  const usage = {
    prompt_tokens: 40,
    completion_tokens: 15,
    total_tokens: 55,
    prompt_tokens_details: { cached_tokens: 30 },
    completion_tokens_details: { reasoning_tokens: 0 },
  }
  expect(kept.chunks().at(-1)).toMatchObject({ choices: [], usage, model: 'claude-sonnet-4-5' })
  expect(new Set(kept.chunks().map(({ id }) => id))).toEqual(new Set([START.message.id]))
  expect(kept.events().at(-1)).toEqual({ data: '[DONE]' })
  expect(upstream.ledger[0]?.body).toMatchObject({ stream: true })
  expect(completionOf(outcome)).toMatchObject({
    id: START.message.id,
    object: 'chat.completion',
    choices: [
      {
        message: {
          role: 'assistant',
          content: 'Okay, let me check.',
          reasoning_content: 'Paris it is.',
          thinking_blocks: [{ type: 'thinking', thinking: 'Paris it is.', signature: 'EqQBCg' }],
          tool_calls: [
            { id: 'toolu_1', function: { name: 'get_weather', arguments: '{"city": "Paris"}' } },
            { id: 'toolu_2', function: { name: 'now', arguments: '{}' } },
          ],
        },
        finish_reason: 'tool_calls',
      },
    ],
    usage,
  })
})

test('without include_usage no chunk tells of usage; the whole does', async () => {
  // Events of a kind that nobody knows yet are to be passed over.
  say([START, ...text(0, 'Hello'), { type: 'future_event', deep: [1] }, ...end('end_turn')])
  const kept = createKeepingSink()
  const outcome = await ask({}, { sink: kept.sink })
  expect(kept.bytes().toString()).not.toContain('usage')
  expect(kept.chunks()[0]).toMatchObject({ choices: [{ delta: { role: 'assistant', content: '' } }] })
  expect(outcome).toMatchObject({ reply: { usage: { input_tokens: 40, output_tokens: 15 } } })
})

const ERROR = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }
const CUTS: [string, Record<string, unknown>[], string][] = [
  ['an error event', [START, ...text(0, 'Hel'), ERROR], 'service_unavailable'],
  ['its end', [START, ...text(0, 'Hel')], 'response_invalid'],
  [
    'an event that is none',
    [START, ...text(0, 'Hel'), { type: 'content_block_delta', index: 0 }],
    'response_invalid',
  ],
]

test.each(CUTS)('a stream that breaks by %s fails with what had come', async (_what, events, errorClass) => {
  say(events)
  const kept = createKeepingSink()
  const outcome = await ask({}, { sink: kept.sink })
  expect(outcome).toMatchObject({
    kind: 'error',
    error: { class: errorClass, isRetryable: true, isPossiblyBilled: true },
  })
  const partial = outcome.kind === 'error' ? outcome.partial : null
  expect(JSON.parse(String(partial))).toMatchObject({
    choices: [{ message: { content: 'Hel' }, finish_reason: null }],
  })
  expect(kept.events().map(({ data }) => data)).not.toContain('[DONE]')
})

test.each([
  ['an error event', [ERROR], 'service_unavailable'],
  ['an error after the head', [START, { type: 'ping' }, ERROR], 'service_unavailable'],
  ['nothing', [], 'response_invalid'],
])('a stream of %s alone writes nothing: another try is possible', async (_what, events, errorClass) => {
  say(events)
  const kept = createKeepingSink()
  const outcome = await ask({}, { sink: kept.sink })
  expect(outcome).toMatchObject({ kind: 'error', error: { class: errorClass }, partial: null })
  expect(kept.bytes()).toHaveLength(0)
})

test('a connection that breaks within a stream, and one that only stalls, end the call with what had come', async () => {
  const head = sse([
    START,
    block(0, { type: 'text', text: '' }),
    delta(0, { type: 'text_delta', text: 'Hel' }),
  ])
  let breaks = true
  const server = createServer((_request, response) => {
    response.writeHead(200, SSE)
    response.write(head, () => breaks && setImmediate(() => response.destroy()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const api_base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const partial = expect.any(Buffer)
  const cut = await ask({}, { sink: createKeepingSink().sink }, { api_base })
  expect(cut).toMatchObject({
    kind: 'error',
    error: { class: 'api_connection', isPossiblyBilled: true },
    partial,
  })
  breaks = false
  const late = await ask({}, { sink: createKeepingSink().sink, timeoutMs: 150 }, { api_base })
  expect(late).toMatchObject({ kind: 'error', error: { class: 'timeout' }, partial })
  const leaving = new AbortController()
  const kept = createKeepingSink()
  const running = ask({}, { sink: kept.sink, signal: leaving.signal }, { api_base })
  await eventually('the first words are there', () => kept.chunks().length > 1)
  leaving.abort()
  expect(await running).toMatchObject({ kind: 'error', error: { class: 'api_connection' }, partial })
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

// https://docs.anthropic.com/en/api/errors
test.each([
  [
    429,
    'rate_limit_error',
    { 'retry-after': '7' },
    { class: 'rate_limit', retryAfterMs: 7_000, isRetryable: true },
  ],
  [529, 'overloaded_error', {}, { class: 'service_unavailable', isRetryable: true }],
  [500, 'api_error', {}, { class: 'internal_server', isRetryable: true }],
  [401, 'authentication_error', {}, { class: 'authentication', isRetryable: false }],
  [400, 'invalid_request_error', {}, { class: 'bad_request', isRetryable: false }],
])('its error %i %s, streamed or not', async (status, type, headers, error) => {
  const body = { type: 'error', error: { type, message: 'Sent sk-ant-test-key' }, request_id: 'req_1' }
  upstream.answer(() => ({ kind: 'reply', status, headers, body }))
  for (const sink of [null, createKeepingSink().sink]) {
    const outcome = await ask({ messages: [{ role: 'user', content: 'canary' }] }, { sink })
    expect(outcome).toMatchObject({ kind: 'error', error: { status, message: 'Sent [redacted]', ...error } })
    expect(JSON.stringify(outcome)).not.toMatch(/canary|test-key/)
  }
})

test.each(['', '<html>502</html>', '{"content":', '{}', '[]', '{"type":"message"}'])(
  'a 200 that is no answer is none: %s',
  async (body) => {
    upstream.answer(() => ({ kind: 'reply', status: 200, body }))
    for (const sink of [null, createKeepingSink().sink]) {
      const outcome = await ask({}, { sink })
      expect(outcome).toMatchObject({
        kind: 'error',
        error: { class: 'response_invalid', isPossiblyBilled: true },
      })
    }
  },
)

test('the timeout of a call ends it, an address that is not open is refused, and a closed port is no answer', async () => {
  upstream.answer(() => ({ kind: 'hang' }))
  expect(await ask({}, { timeoutMs: 60 })).toMatchObject({
    error: { class: 'timeout', isPossiblyBilled: true },
  })
  expect(await ask({}, {}, { api_base: 'https://10.0.0.1' })).toMatchObject({
    error: { class: 'egress_refused' },
  })
  expect(await ask({}, {}, { api_base: 'http://127.0.0.1:1' })).toMatchObject({
    error: { class: 'api_connection' },
  })
})
