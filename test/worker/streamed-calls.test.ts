import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Outbound } from '../../worker/outbound.ts'
import type { ProviderCall } from '../../worker/providers/provider.ts'
import { createProviders } from '../../worker/providers/registry.ts'
import { callForResponse } from '../../worker/response-id.ts'
import { startProvider, type TestProvider } from '../support/provider.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

let upstream: TestProvider
let outbound: Outbound
let sent: string
beforeAll(async () => {
  upstream = await startProvider()
  outbound = createLocalOutbound()
})
beforeEach(() => {
  sent = ''
})
afterAll(async () => {
  await outbound.close()
  await upstream.close()
})

const sink = { write: (events: Uint8Array) => void (sent += String(Buffer.from(events))) }
const callWith = (changes: Partial<ProviderCall> = {}) =>
  callOf({ api_base: `${upstream.url}/v1` }, { model: 'm', stream: true }, { sink, ...changes })
const post = (call: ProviderCall) => createProviders(outbound)(call.bundle).call(call)
const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`

test('what was passed on was billed, also when it is no part of a whole answer', async () => {
  const delta = event({ type: 'response.output_text.delta', delta: 'half', output_index: 0 })
  const failed = event({ type: 'error', code: 'server_error', message: 'gone' })
  upstream.answer(() => ({ kind: 'stream', events: [delta, failed] }))
  expect(await post(callWith({ endpoint: 'responses' }))).toMatchObject({
    kind: 'error',
    error: { message: 'gone', isPossiblyBilled: true },
    partial: null,
  })
  expect(sent).toBe(delta)
})

test('an event without an end is given up before it fills the memory', async () => {
  const filler = 'x'.repeat(1024 * 1024)
  upstream.answer(() => ({ kind: 'stream', events: ['data: ', ...Array.from({ length: 64 }, () => filler)] }))
  expect(await post(callWith())).toMatchObject({
    kind: 'error',
    error: {
      class: 'response_invalid',
      message: expect.stringContaining('An event is larger'),
      isPossiblyBilled: true,
    },
  })
  expect(sent).toBe('')
})

test('what is no stream may be no larger than an answer in one piece', async () => {
  const body = `{"error":{"message":"${'x'.repeat(11 * 1024 * 1024)}"}}`
  upstream.answer(() => ({ kind: 'reply', status: 500, body }))
  expect(await post(callWith())).toMatchObject({ kind: 'error', error: { class: 'response_invalid' } })
})

test('an event that no stack is deep enough for ends its own call', async () => {
  const deep = `{"choices":[{"index":0,"delta":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}]}`
  upstream.answer(() => ({ kind: 'stream', events: [`data: ${deep}\n\n`] }))
  expect(await post(callWith())).toMatchObject({ kind: 'error', error: { isPossiblyBilled: true } })
})

test('a response whose own id is empty keeps its empty texts', async () => {
  const output = [{ type: 'message', content: [{ type: 'output_text', text: '' }] }]
  const whole = { id: '', object: 'response', status: 'completed', output }
  upstream.answer(() => ({ kind: 'reply', status: 200, body: whole }))
  const call = callWith({ endpoint: 'responses', sink: null })
  const outcome = await callForResponse(createProviders(outbound)(call.bundle), call, 'resp_ours')
  expect(outcome.kind === 'reply' && JSON.parse(String(outcome.reply.body))).toEqual(whole)
})
