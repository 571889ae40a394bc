import net, { type AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Outbound } from '../../worker/outbound.ts'
import { createProviders } from '../../worker/providers/registry.ts'
import { eventually } from '../support/eventually.ts'
import { completion, startProvider, type Answer, type TestProvider } from '../support/provider.ts'
import { ANSWERS } from './provider-answers.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

let upstream: TestProvider
let outbound: Outbound
beforeAll(async () => {
  upstream = await startProvider()
  outbound = createLocalOutbound()
})
beforeEach(() => {
  upstream.ledger.length = 0
  upstream.answer(() => completion('hello'))
})
afterAll(async () => {
  await outbound.close()
  await upstream.close()
})

const chat = (call: ReturnType<typeof callOf>) => createProviders(outbound)(call.bundle).call(call)
const base = () => `${upstream.url}/v1`

test("the body goes out as it came but for the model, with the bundle's key and organization", async () => {
  const body = {
    model: 'group',
    messages: [],
    vertex_ai_location: 'us-east1',
    n: 2,
    future: { deep: [null] },
  }
  const call = callOf({ api_base: base(), organization: 'org-1', model: 'accounts/x/models/y' }, body)
  await chat(call)
  const [sent] = upstream.ledger
  expect(sent).toMatchObject({ path: '/v1/chat/completions', method: 'POST', key: 'sk-test-key' })
  expect(sent?.body).toEqual({ ...body, model: 'accounts/x/models/y' })
  expect(sent?.headers).toMatchObject({
    authorization: 'Bearer sk-test-key',
    'openai-organization': 'org-1',
    'content-type': 'application/json',
  })
  expect(sent?.headers['api-key']).toBeUndefined()
  expect(call.body).toEqual(body)
})

test("a deployment's defaults give way to the request, and nothing nested is taken for a field", async () => {
  const extra_body = { stream: true, messages: [{ role: 'user', content: 'smuggled' }] }
  const body = { model: 'group', messages: [], temperature: 0.9, extra_body }
  await chat(callOf({ api_base: base(), params: { temperature: 0.1, top_k: 5 } }, body))
  const { model, ...sent } = upstream.ledger[0]?.body ?? {}
  expect(sent).toEqual({ messages: [], temperature: 0.9, top_k: 5, extra_body })
  expect(model).toBe('gpt-4o')
})

test('extra headers are sent, and none can replace the credential', async () => {
  const headers = { 'X-Title': 'mine', Authorization: 'Bearer other', 'OpenAI-Organization': 'org-2' }
  await chat(callOf({ api_base: base(), headers, organization: 'org-1' }))
  expect(upstream.ledger[0]?.headers).toMatchObject({
    'x-title': 'mine',
    authorization: 'Bearer sk-test-key',
    'openai-organization': 'org-1',
  })
})

test('a deployment without a key sends none', async () => {
  await chat(callOf({ provider: 'hosted_vllm', api_base: base(), api_key: null }))
  expect(upstream.ledger[0]?.key).toBeNull()
})

test('the answer is kept byte for byte, with its usage and request id read', async () => {
  const text =
    '{ "id":"x", "choices": [ ],\n "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}, "z":1.0 }'
  upstream.answer(() => ({ kind: 'reply', status: 200, body: text }))
  const outcome = await chat(callOf({ api_base: base() }))
  expect(outcome).toEqual({
    kind: 'reply',
    reply: {
      status: 200,
      body: Buffer.from(text),
      requestId: 'up-1',
      usage: { input_tokens: 3, output_tokens: 4, total_tokens: 7, cached_input_tokens: 0 },
      isFiltered: false,
      headers: { 'x-request-id': 'up-1' },
      restMs: null,
    },
  })
})

test('input that the provider had in its cache is told apart', async () => {
  const usage = { prompt_tokens: 9, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 8 } }
  upstream.answer(() => ({ kind: 'reply', status: 200, body: { choices: [], usage } }))
  expect(await chat(callOf({ api_base: base() }))).toMatchObject({
    reply: { usage: { input_tokens: 9, output_tokens: 1, total_tokens: 10, cached_input_tokens: 8 } },
  })
})

test.each([
  [[{ finish_reason: 'content_filter' }], true],
  [[{ finish_reason: 'stop' }, { finish_reason: 'content_filter' }], false],
  [[], false],
  [[null], false],
])('an answer is filtered when the first choice ended so: %j', async (choices, isFiltered) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body: { choices } }))
  expect(await chat(callOf({ api_base: base() }))).toMatchObject({ reply: { isFiltered } })
})

test('rates are passed on and learned from, of answers and of errors, and no other header is', async () => {
  const rates = {
    'x-ratelimit-remaining-requests': '0',
    'x-ratelimit-reset-requests': '60s',
    'x-ratelimit-limit-requests': '60',
  }
  const headers = { ...rates, 'set-cookie': 'canary', 'openai-organization': 'canary' }
  const shown = { ...rates, 'x-request-id': 'up-1' }
  upstream.answer(() => ({ ...completion('hello'), headers }))
  const outcome = await chat(callOf({ api_base: base() }))
  expect(outcome).toMatchObject({ reply: { headers: shown, restMs: 1_000 } })
  upstream.answer(() => ({ kind: 'reply', status: 429, body: '', headers }))
  const failed = await chat(callOf({ api_base: base() }))
  expect(failed).toMatchObject({ error: { headers: { ...shown, 'x-request-id': 'up-2' } } })
  expect(JSON.stringify([outcome, failed])).not.toContain('canary')
})

test("overrides win over the request, drops over both, and the model is always the bundle's", async () => {
  const body = { model: 'group', messages: [], temperature: 0.9, seed: 1, user: 'u', logit_bias: {}, n: 2 }
  const drop = { unsupported: true, names: ['temperature', 'model'], allowed: ['logprobs'] }
  const bundle = {
    provider: 'groq',
    api_base: base(),
    params: { top_k: 5, logprobs: true },
    overrides: { temperature: 0.2, seed: 7, model: 'smuggled' },
    drop: { unsupported: false, names: ['user'], allowed: [] },
  }
  await chat(callOf(bundle, body, { drop }))
  expect(upstream.ledger[0]?.body).toEqual({
    model: 'gpt-4o',
    messages: [],
    top_k: 5,
    logprobs: true,
    seed: 7,
  })
})

test('a request id that echoes the key is no request id', async () => {
  upstream.answer(() => ({ ...completion('hello'), headers: { 'x-request-id': 'sk-test-key' } }))
  const outcome = await chat(callOf({ api_base: base() }))
  expect(outcome).toMatchObject({ kind: 'reply', reply: { requestId: null, headers: {} } })
})

test.each([{}, { usage: null }, { usage: { prompt_tokens: -1 } }, { usage: { total_tokens: 'many' } }])(
  'usage that a provider does not tell is null, not zero: %j',
  async (fields) => {
    upstream.answer(() => ({ kind: 'reply', status: 200, body: { choices: [], error: null, ...fields } }))
    expect(await chat(callOf({ api_base: base() }))).toMatchObject({ kind: 'reply', reply: { usage: null } })
  },
)

test.each([
  '',
  'plain',
  '<html></html>',
  '[]',
  'null',
  '{"choices":',
  '{}',
  '{"choices":{}}',
  '{"secret":"internal"}',
])('a 200 that holds no completion is no result: %s', async (body) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body }))
  const outcome = await chat(callOf({ api_base: base() }))
  expect(outcome).toMatchObject({
    kind: 'error',
    error: { class: 'response_invalid', isPossiblyBilled: true },
  })
  expect(JSON.stringify(outcome)).not.toContain('internal')
})

test.each([
  // OpenRouter's form; seen in maximhq/bifrost#5425.
  [{ finish_reason: 'error', message: { content: 'half an ans' } }, 'bad_gateway', 502],
  [{ finish_reason: 'error', error: { code: 502, message: 'Model is down' } }, 'bad_gateway', 502],
  [{ finish_reason: null, error: { code: 429, message: 'Slow down' } }, 'rate_limit', 429],
  [{ finish_reason: null, error: 'Model is down' }, 'bad_gateway', 502],
])('a 200 whose first choice broke off is a failure: %j', async (choice, errorClass, status) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body: { choices: [choice] } }))
  const expected = { class: errorClass, status, isRetryable: true, isPossiblyBilled: true }
  expect(await chat(callOf({ api_base: base() }))).toMatchObject({ kind: 'error', error: expected })
})

test.each([
  { error: null },
  { error: '' },
  { error: {} },
  { error: false },
  { choices: [{ finish_reason: 'stop', error: null }, { finish_reason: 'error' }] },
  { choices: [{ finish_reason: 'length', error: {} }] },
])('an error that says nothing does not spoil a completion: %j', async (fields) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body: { choices: [], ...fields } }))
  expect(await chat(callOf({ api_base: base() }))).toMatchObject({ kind: 'reply' })
})

test("a base may end in a slash or in the whole path, and an operator's may carry a query", async () => {
  for (const suffix of ['/v1/', '/v1/chat/completions', '/v1?tenant=7']) {
    await chat(callOf({ api_base: upstream.url + suffix, trusted_base: true }))
  }
  expect(upstream.ledger.map(({ path }) => path)).toEqual([
    '/v1/chat/completions',
    '/v1/chat/completions',
    '/v1/chat/completions?tenant=7',
  ])
})

test('the timeout of a call ends it, and an abort ends it at once; both were sent', async () => {
  upstream.answer(() => ({ kind: 'hang' }))
  const late = await chat(callOf({ api_base: base() }, undefined, { timeoutMs: 60 }))
  expect(late).toMatchObject({ kind: 'error', error: { class: 'timeout', isPossiblyBilled: true } })
  const stop = new AbortController()
  const running = chat(callOf({ api_base: base() }, undefined, { signal: stop.signal }))
  await eventually('the call arrived', () => upstream.ledger.length === 2)
  stop.abort()
  expect(await running).toMatchObject({
    kind: 'error',
    error: { class: 'api_connection', isPossiblyBilled: true },
  })
})

test('a guardrail that the operator has set stays, whatever a request says; on a client’s own key the request’s wins', async () => {
  const [house, mine] = [{ guardrailIdentifier: 'house' }, { guardrailIdentifier: 'mine' }]
  const body = { model: 'group', messages: [], guardrailConfig: mine }
  const drop = { unsupported: false, names: ['guardrailConfig'], allowed: [] }
  const bundle = { api_base: base(), params: { guardrailConfig: house } }
  await chat(callOf({ ...bundle, is_operators: true }, body, { drop }))
  await chat(callOf(bundle, body))
  expect(upstream.ledger.map(({ body: sent }) => sent['guardrailConfig'])).toEqual([house, mine])
})

test('an address that is not open is refused without a call', async () => {
  const elsewhere = base().replace('127.0.0.1', '127.0.0.2')
  const refused = await chat(callOf({ api_base: elsewhere }))
  expect(refused).toMatchObject({ kind: 'error', error: { class: 'egress_refused', isRetryable: false } })
  const stored = JSON.stringify(await chat(callOf({ api_base: 'https://10.0.0.1/canary' })))
  expect(stored).not.toContain('canary')
  expect(upstream.ledger).toEqual([])
})

test('a provider that this version does not speak is sent nothing', async () => {
  for (const provider of ['replicate', 'sagemaker', 'no-such']) {
    const outcome = await chat(callOf({ provider, api_base: base() }))
    expect(outcome).toMatchObject({ kind: 'error', error: { class: 'bad_request', isRetryable: false } })
  }
  expect(upstream.ledger).toEqual([])
})

test('no failure, of more than fifty shapes, shows the key, the token or the base', async () => {
  const key = 'sk-canary-0123456789'
  const secrets = { api_key: key, headers: { 'x-portkey': 'canary-header-77' }, organization: 'org' }
  const echo = `You sent ${key} and canary-header-77 to https://u:canary-pw@h/p?k=canary-q`
  const echoes = [200, 302, 400, 401, 403, 404, 422, 429, 500, 503].flatMap((status): Answer[] => [
    { kind: 'reply', status, body: { error: { message: echo, type: echo, code: key, param: key } } },
    { kind: 'reply', status, body: echo, headers: { location: `https://h/?key=${key}`, 'retry-after': key } },
  ])
  const known = ANSWERS.map(({ status, body, headers }): Answer => ({ kind: 'reply', status, body, headers }))
  const answers: Answer[] = [
    ...echoes,
    ...known,
    { kind: 'cut' },
    { kind: 'hang' },
    { kind: 'tarpit', everyMs: 5 },
  ]
  const outcomes: unknown[] = []
  for (const answer of answers) {
    upstream.answer(() => answer)
    outcomes.push(await chat(callOf({ ...secrets, api_base: base() }, undefined, { timeoutMs: 150 })))
  }
  const garbage = net.createServer((socket) => socket.once('data', () => socket.end(`${key}\r\n`)))
  await new Promise<void>((resolve) => garbage.listen(0, '127.0.0.1', resolve))
  const { port } = garbage.address() as AddressInfo
  const bases = [
    `http://127.0.0.1:${port}`,
    `https://127.0.0.1:${upstream.port}/canary`,
    'http://127.0.0.1:1/canary',
    'https://canary.invalid/v1',
    'https://user:canary@10.0.0.1/v1',
    'https://10.0.0.1/canary?key=canary',
    'canary',
  ]
  for (const api_base of bases) outcomes.push(await chat(callOf({ ...secrets, api_base })))
  for (const bad of ['canary\r\nx: y', 'canary\0', 'canary…', 'canary\n']) {
    outcomes.push(await chat(callOf({ ...secrets, api_base: base(), api_key: bad })))
  }
  await new Promise((resolve) => garbage.close(resolve))
  expect(outcomes.length).toBeGreaterThan(50)
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ kind: 'error' })
    expect(JSON.stringify(outcome)).not.toContain('canary')
  }
})
