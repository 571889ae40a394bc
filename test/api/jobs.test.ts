import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

const ENDPOINT = '/v1/chat/completions'
const COMPLETION = '{"id":"chatcmpl-1","choices":[]}'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

async function submit(options: object = {}, key?: string) {
  const answer = await api.call('POST', '/v1/jobs', {
    key,
    body: { endpoint: ENDPOINT, body: ask(), ...options },
  })
  if (answer.status !== 202) throw new Error(answer.text)
  return answer.json
}

test('a submit is a 202 with the job and all its options', async () => {
  const notBefore = Math.floor(Date.now() / 1000) + 100
  const options = {
    metadata: { a: 'b' },
    priority: 'high',
    not_before: notBefore,
    expires_in: 60,
    result_ttl: 120,
    on_crash: 'fail',
    max_attempts: 5,
    customer: 'carol',
    webhook: { url: 'https://example.com/hook?x=1', events: ['job.completed'] },
  }
  const answer = await api.call('POST', '/v1/jobs', { body: { endpoint: ENDPOINT, body: ask(), ...options } })
  expect(answer.status).toBe(202)
  expect(answer.headers.location).toBe(`/v1/jobs/${answer.json.id}`)
  expect(answer.json).toMatchObject({
    object: 'job',
    status: 'queued',
    metadata: { a: 'b' },
    priority: 'high',
    customer: 'carol',
    attempts_max: 5,
    queue: { state: 'delayed' },
    warnings: [],
  })
  expect(Math.abs(answer.json.not_before - notBefore)).toBeLessThanOrEqual(1)
  expect(answer.json.expires_at).toBe(answer.json.not_before + 60)
  expect(answer.text).not.toContain('sk-client')
})

test('an attempt budget over the cap is lowered and said so', async () => {
  const job = await submit({ max_attempts: 99, delay: 60 })
  expect(job.attempts_max).toBe(30)
  expect(job.warnings).toEqual(['max_attempts was lowered from 99 to 30'])
})

test.for([
  [{ endpoint: '/v1/images/generations' }, 'endpoint'],
  [{ endpoint: '/v1/embeddings', body: { model: 'm' } }, 'body.input'],
  [{ endpoint: '/v1/embeddings', body: { model: 'm', input: 'x', stream: true } }, 'body.stream'],
  [{ endpoint: undefined }, 'endpoint'],
  [{ body: undefined }, 'body'],
  [{ body: { model: 'x' } }, 'body.messages'],
  [{ body: ask({ stream: 1 }) }, 'body.stream'],
  [{ body: ask({ job: {} }) }, 'body.job'],
  [{ body: ask({ customer: 'x' }) }, 'body.customer'],
  [{ body: ask({ user_config: { model_list: [], redis_url: 'redis://x' } }) }, 'body.user_config.redis_url'],
  [{ webhok: {} }, 'webhok'],
  [{ webhook: { url: 'https://127.0.0.1/' } }, 'webhook.url'],
  [{ webhook: { url: 'https://example.com/', events: ['job.started'] } }, 'webhook.events[0]'],
  [{ idempotency_key: 'two words' }, 'idempotency_key'],
  [{ metadata: { a: 1 } }, 'metadata.a'],
] as const)('%j is a 400 that names `%s`, and stores nothing', async ([change, param]) => {
  const before = await api.stored()
  const answer = await api.call('POST', '/v1/jobs', { body: { endpoint: ENDPOINT, body: ask(), ...change } })
  expect(answer.status).toBe(400)
  expect(answer.json.error).toMatchObject({ type: 'invalid_request_error', param })
  expect(await api.stored()).toBe(before)
})

test('a finished job shows its result, and /result is the bare body with its status', async () => {
  const { id } = await submit()
  const pending = await api.call('GET', `/v1/jobs/${id}/result`)
  expect(pending.status).toBe(202)
  expect(pending.json).toMatchObject({ id, status: 'queued' })
  const polled = await api.call('GET', `/v1/jobs/${id}`)
  expect(polled.headers).toMatchObject({ 'retry-after': '2', 'openai-poll-after-ms': '1000' })
  await api.work({ body: COMPLETION })
  const job = await api.call('GET', `/v1/jobs/${id}`)
  expect(job.json).toMatchObject({
    status: 'completed',
    response: { status_code: 200, body: { id: 'chatcmpl-1', choices: [] } },
    error: null,
  })
  expect(job.headers['retry-after']).toBeUndefined()
  const result = await api.call('GET', `/v1/jobs/${id}/result`)
  expect([result.status, result.text]).toEqual([200, COMPLETION])
})

test('a failed job’s result is the provider’s answer; without one it is the job’s error', async () => {
  const error = { message: 'No.', type: 'invalid_request_error', param: null, code: 'bad' }
  const first = await submit()
  await api.work({ error, status: 422, body: '{"error":{"message":"No."}}' })
  const answered = await api.call('GET', `/v1/jobs/${first.id}/result`)
  expect([answered.status, answered.text]).toEqual([422, '{"error":{"message":"No."}}'])
  const second = await submit()
  await api.work({ error })
  const unanswered = await api.call('GET', `/v1/jobs/${second.id}/result`)
  expect([unanswered.status, unanswered.json]).toEqual([502, { error }])
})

const POLLS: { query: string; headers: Record<string, string>; applied: string | undefined }[] = [
  { query: '?wait=30', headers: {}, applied: undefined },
  { query: '?wait=900', headers: {}, applied: undefined },
  { query: '', headers: { prefer: 'wait=900' }, applied: 'wait=60' },
]
test.for(POLLS)('a long-poll by %j answers as soon as the job ends', async ({ query, headers, applied }) => {
  const { id } = await submit()
  const poll = api.call('GET', `/v1/jobs/${id}${query}`, { headers })
  await eventually('somebody waits', () => api.settled.size() === 1)
  await api.work({ body: COMPLETION })
  const endedAt = performance.now()
  const answer = await poll
  expect(answer.json.status).toBe('completed')
  expect(performance.now() - endedAt).toBeLessThan(15_000)
  expect(answer.headers['preference-applied']).toBe(applied)
  expect(api.settled.size()).toBe(0)
})

test('a long-poll that ends first shows the job as it is', async () => {
  const { id } = await submit({ delay: 60 })
  const answer = await api.call('GET', `/v1/jobs/${id}?wait=0.2`)
  expect([answer.status, answer.json.status]).toEqual([200, 'queued'])
  expect((await api.call('GET', `/v1/jobs/${id}?wait=soon`)).json.error.param).toBe('wait')
})

test('cancel takes no body, ends a waiting job at once and leaves an ended one as it is', async () => {
  const { id } = await submit({ delay: 60 })
  const headers = { 'content-type': 'application/json' }
  for (let round = 0; round < 2; round += 1) {
    const answer = await api.call('POST', `/v1/jobs/${id}/cancel`, { headers })
    expect([answer.status, answer.json.status]).toEqual([200, 'cancelled'])
  }
  expect((await api.call('GET', `/v1/jobs/${id}/result`)).status).toBe(409)
})

test('an id that is unknown, malformed or another tenant’s is a 404, one that was purged a 410', async () => {
  const { key } = await api.apiKeys.create('other')
  const { id } = await submit({ delay: 60 })
  const purged = api.store.ids.newJobId('default')
  for (const unknown of [`job_${'0'.repeat(40)}`, 'x', '%00', 'x'.repeat(500)]) {
    for (const [method, path] of ways(unknown)) expect((await api.call(method, path)).status, path).toBe(404)
  }
  for (const [method, path] of ways(id))
    expect((await api.call(method, path, { key })).status, path).toBe(404)
  for (const [method, path] of ways(purged)) {
    const answer = await api.call(method, path)
    expect([answer.status, answer.json.error.code], path).toEqual([410, 'result_expired'])
  }
  expect((await api.call('GET', `/v1/jobs/${id}`)).json.status).toBe('queued')
})

function ways(job: string) {
  return [
    ['GET', `/v1/jobs/${job}`],
    ['GET', `/v1/jobs/${job}?wait=5`],
    ['GET', `/v1/jobs/${job}/result`],
    ['POST', `/v1/jobs/${job}/cancel`],
  ] as const
}

test.for([{}, { delay: 100, customer: 'carol' }])(
  'the 202 of %j shows what a read shows',
  async (options) => {
    const submitted = await submit(options)
    expect(submitted).toEqual((await api.call('GET', `/v1/jobs/${submitted.id}`)).json)
    await api.call('POST', `/v1/jobs/${submitted.id}/cancel`)
    api.store.queued.length = 0
  },
)
