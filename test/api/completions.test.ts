import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chat, SDKS } from '../support/clients.ts'
import { eventually } from '../support/eventually.ts'
import { ask, MASTER_KEY, startApi, type TestApi } from './fixture.ts'

const PATH = '/v1/chat/completions'
const COMPLETION =
  '{"id": "chatcmpl-1",  "choices":[{"message":{"content":"héllo"}}],"big":12345678901234567890}'
const UPSTREAM_ERROR = { message: 'Slow down.', type: 'tokens', param: null, code: 'rate_limit_exceeded' }

let api: TestApi
beforeAll(async () => {
  api = await startApi({ syncHoldMs: 60_000 })
  await api.app.listen({ host: '127.0.0.1', port: 0 })
})
afterAll(() => api.close())

const baseUrl = () => `http://127.0.0.1:${(api.app.server.address() as AddressInfo).port}`

test('a sync call gets the provider’s bytes as they came, with headers that tell of its job', async () => {
  const [answer] = await Promise.all([
    api.call('POST', PATH, { body: ask() }),
    api.work({ body: COMPLETION }),
  ])
  expect(answer.status).toBe(200)
  expect(answer.text).toBe(COMPLETION)
  expect(answer.headers['content-type']).toBe('application/json')
  expect(answer.headers['x-job-id']).toMatch(/^job_[0-9a-f]{40}$/)
  expect(answer.headers['x-litellm-call-id']).toBe(answer.headers['x-job-id'])
  expect(answer.headers['openai-processing-ms']).toMatch(/^\d+$/)
  expect(answer.headers['x-job-attempts']).toBe('0')
  expect(answer.headers.vary).toBe('Prefer')
})

test.for(SDKS)('$name works unmodified with a base URL with and without /v1', async ({ make }) => {
  for (const path of ['', '/', '/v1', '/v1/']) {
    const client = make({ baseURL: baseUrl() + path, apiKey: MASTER_KEY, maxRetries: 0 })
    const { model, user_config } = ask()
    const [completion] = await Promise.all([
      chat(client, { model, user_config }),
      api.work({ body: COMPLETION }),
    ])
    expect(completion.choices[0]?.message.content).toBe('héllo')
  }
})

test('gateway fields are kept from the provider, everything else goes there untouched', async () => {
  const extra = { vertex_ai_location: 'us-east1', unknown: { deep: [null] }, temperature: 0.1 }
  const body = ask({ ...extra, job: { metadata: { a: 'b' } }, customer: 'carol', num_retries: 1 })
  const [, claim] = await Promise.all([api.call('POST', PATH, { body }), api.work({ body: COMPLETION })])
  expect(claim.body).toEqual({ model: 'mine', messages: body.messages, ...extra })
  expect(claim.meta).toMatchObject({ customer: 'carol', metadata: { a: 'b' }, mode: 'sync' })
})

test('the customer header beats the body, and UTF-8 in it is read', async () => {
  const headers = { 'x-litellm-customer-id': Buffer.from('zoë').toString('latin1') }
  const call = api.call('POST', PATH, { body: ask({ customer: 'carol' }), headers })
  const [, claim] = await Promise.all([call, api.work({ body: COMPLETION })])
  expect(claim.meta.customer).toBe('zoë')
})

test.for([
  [{ model: undefined }, 'model', 'missing_required_parameter'],
  [{ model: 7 }, 'model', 'invalid_parameter'],
  [{ messages: undefined }, 'messages', 'missing_required_parameter'],
  [{ messages: 'hi' }, 'messages', 'invalid_parameter'],
  [{ messages: [] }, 'messages', 'invalid_parameter'],
  [{ stream: 'yes' }, 'stream', 'invalid_parameter'],
  [{ customer: 'x'.repeat(257) }, 'customer', 'invalid_parameter'],
  [{ job: { prio: 'high' } }, 'job.prio', 'unknown_parameter'],
  [{ job: { metadata: { 'a b': 1 } } }, 'job.metadata["a b"]', 'invalid_parameter'],
  [{ job: { delay: -1 } }, 'job.delay', 'invalid_parameter'],
  [{ job: { delay: 1, not_before: 1 } }, 'job.not_before', 'invalid_request'],
  [{ job: { not_before: 99_999_999_999 } }, 'job.not_before', 'invalid_request'],
  [{ job: { webhook: { url: 'http://10.0.0.1/' } } }, 'job.webhook.url', 'url_not_allowed'],
  [{ job: { webhook: { url: 'https://169.254.169.254/' } } }, 'job.webhook.url', 'url_not_allowed'],
  [{ user_config: { ...ask().user_config, retries: 1 } }, 'user_config.retries', expect.any(String)],
] as const)('%j is a 400 that names `%s`, and stores nothing', async ([change, param, code]) => {
  const before = await api.stored()
  const answer = await api.call('POST', PATH, { body: ask(change) })
  expect(answer.status).toBe(400)
  expect(answer.json.error).toEqual({
    message: expect.any(String),
    type: 'invalid_request_error',
    param,
    code,
  })
  expect(answer.headers['x-should-retry']).toBe('false')
  expect(await api.stored()).toBe(before)
})

test.for([{ 'idempotency-key': 'two words' }, { 'x-litellm-customer-id': 'x'.repeat(257) }] as Record<
  string,
  string
>[])('the header %j is a 400 that names it', async (headers) => {
  const answer = await api.call('POST', PATH, { body: ask(), headers })
  expect(answer.status).toBe(400)
  expect(answer.json.error.param?.toLowerCase()).toBe(Object.keys(headers)[0])
})

test.for([
  [429, 429],
  [401, 401],
  [503, 503],
  [520, 502],
  [302, 502],
] as const)(
  'a provider’s %i reaches a sync caller as %i with its own type and code, not to be retried',
  async ([upstream, status]) => {
    const end = { error: UPSTREAM_ERROR, status: upstream, body: JSON.stringify({ error: UPSTREAM_ERROR }) }
    const [answer] = await Promise.all([api.call('POST', PATH, { body: ask() }), api.work(end)])
    expect(answer.status).toBe(status)
    expect(answer.json).toEqual({ error: UPSTREAM_ERROR })
    expect(answer.headers['x-should-retry']).toBe('false')
  },
)

test('a job that never reached a provider fails its sync call with a 502', async () => {
  const error = { message: 'The worker was lost.', type: 'server_error', param: null, code: 'worker_lost' }
  const [answer] = await Promise.all([api.call('POST', PATH, { body: ask() }), api.work({ error })])
  expect(answer.status).toBe(502)
  expect(answer.json).toEqual({ error })
})

test('a sync call whose job is cancelled gets a 409 that no SDK retries', async () => {
  const call = api.call('POST', PATH, { body: ask() })
  const { id } = await eventually('the job is fed', () => api.store.queued.shift())
  await api.call('POST', `/v1/jobs/${id}/cancel`)
  const answer = await call
  expect(answer.status).toBe(409)
  expect(answer.json.error.code).toBe('job_cancelled')
  expect(answer.headers['x-should-retry']).toBe('false')
})

test('a sync call held too long is a 504 with the job’s id, and the job goes on', async () => {
  const short = await startApi({ syncHoldMs: 100 })
  const answer = await short.call('POST', PATH, { body: ask() })
  expect(answer.status).toBe(504)
  expect(answer.headers['x-should-retry']).toBe('false')
  const id = String(answer.headers['x-job-id'])
  expect(answer.json.error).toMatchObject({ type: 'timeout_error', code: 'sync_wait_exceeded' })
  expect(answer.json.error.message).toContain(id)
  await short.work({ body: COMPLETION })
  expect((await short.call('GET', `/v1/jobs/${id}/result`)).text).toBe(COMPLETION)
  await short.close()
})

test('Prefer: respond-async is a 202 with location and job', async () => {
  const answer = await api.call('POST', PATH, { body: ask(), headers: { prefer: 'respond-async' } })
  expect(answer.status).toBe(202)
  expect(answer.json).toMatchObject({ object: 'job', status: 'queued', model: 'mine', endpoint: PATH })
  expect(answer.headers).toMatchObject({
    location: `/v1/jobs/${answer.json.id}`,
    'preference-applied': 'respond-async',
    'retry-after': '2',
    vary: 'Prefer',
  })
  await api.work({ body: COMPLETION })
})

test('Prefer with wait=N is the completion if it is done in time, else the 202', async () => {
  const headers = { prefer: 'respond-async, wait=30' }
  const [done] = await Promise.all([
    api.call('POST', PATH, { body: ask(), headers }),
    api.work({ body: COMPLETION }),
  ])
  expect(done.status).toBe(200)
  expect(done.text).toBe(COMPLETION)
  expect(done.headers['preference-applied']).toBe('wait=30')
  const late = await api.call('POST', PATH, { body: ask(), headers: { prefer: 'wait=1' } })
  expect(late.status).toBe(202)
  expect(late.headers['preference-applied']).toBe('wait=1')
  await api.work({ body: COMPLETION })
})

test('a sync call is answered as soon as its job ends', async () => {
  const call = api.call('POST', PATH, { body: ask() })
  await api.work({ body: COMPLETION })
  const endedAt = performance.now()
  expect((await call).status).toBe(200)
  // Not after the minute that a call is held here.
  expect(performance.now() - endedAt).toBeLessThan(20_000)
})

test('a client that leaves does not end its job', async () => {
  const body = JSON.stringify(ask())
  const headers = { authorization: `Bearer ${MASTER_KEY}`, 'content-type': 'application/json' }
  const call = httpRequest(`${baseUrl()}${PATH}`, { method: 'POST', headers })
  call.on('error', () => {})
  call.end(body)
  await eventually('the job is fed', () => api.store.queued.length === 1)
  const { id } = api.store.queued[0] ?? { id: '' }
  call.destroy()
  await eventually('the wait is given up', () => api.settled.size() === 0)
  expect((await api.call('GET', `/v1/jobs/${id}`)).json.status).toBe('queued')
  await api.work({ body: COMPLETION })
  expect((await api.call('GET', `/v1/jobs/${id}`)).json.status).toBe('completed')
})

test('a process that stops answers the calls it holds and takes no more', async () => {
  const stopping = await startApi()
  const call = stopping.call('POST', PATH, { body: ask() })
  await eventually('the job is fed', () => stopping.store.queued.length === 1)
  stopping.holds.endAll()
  const answer = await call
  expect(answer.status).toBe(504)
  expect(answer.headers['x-should-retry']).toBe('false')
  const late = await stopping.call('POST', PATH, { body: ask() })
  expect(late.status).toBe(503)
  expect(await stopping.stored()).toBe(1)
  await stopping.close()
})
