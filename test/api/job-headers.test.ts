import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseMeta } from '../../shared/jobs/record-texts.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const submit = (headers: Record<string, string>, options: object = {}) =>
  api.call('POST', '/v1/jobs', {
    body: { endpoint: '/v1/chat/completions', body: ask(), ...options },
    headers,
  })

test('headers give a job’s options, and win over its body', async () => {
  const headers = {
    'x-job-priority': 'low',
    'x-job-delay': '90.5',
    'x-job-expires-in': '120',
    'x-job-result-ttl': '240',
    'x-job-max-attempts': '3',
    'x-job-webhook': 'https://example.com/hook?x=1',
  }
  const options = { priority: 'high', not_before: Math.floor(Date.now() / 1000) + 500, expires_in: 5 }
  const { json } = await submit(headers, options)
  expect(json).toMatchObject({ priority: 'low', attempts_max: 3, queue: { state: 'delayed' } })
  expect(json.expires_at - json.not_before).toBe(120)
  expect(json.not_before - json.created_at).toBeLessThanOrEqual(91)
  const [meta, hook] = await api.store.redis.hmget(api.store.keys.job(json.id), 'meta', 'hook')
  expect(parseMeta(meta ?? '').resultTtlMs).toBe(240_000)
  expect(hook).not.toBeNull()
})

test('a start time in a header replaces the body’s, in whichever form that was', async () => {
  const notBefore = Math.floor(Date.now() / 1000) + 300
  const { json } = await submit({ 'x-job-not-before': String(notBefore) }, { delay: 20 })
  expect(json.not_before).toBe(notBefore)
  const now = await submit({ 'x-job-delay': '0' }, { delay: 20 })
  expect(now.json.not_before).toBeNull()
  await api.work({ body: '{}' })
})

test.for([
  ['90', 90],
  ['90s', 90],
  ['5m', 300],
  ['2h', 7_200],
  ['1.5 m', 90],
] as const)('Cancel-After: %s is a deadline %i s away', async ([text, seconds]) => {
  const { json } = await submit({ 'cancel-after': text, 'x-job-delay': '60' })
  expect(json.expires_at - json.not_before).toBe(seconds)
})

test('of X-Job-Expires-In and its alias the first counts', async () => {
  const { json } = await submit({
    'cancel-after': '90s',
    'x-job-expires-in': '30',
    'x-job-delay': '60',
  })
  expect(json.expires_at - json.not_before).toBe(30)
})

test('they count on every door, X-Job-Timeout as the time of each call', async () => {
  const headers = { 'x-job-priority': 'high', 'x-job-timeout': '7', 'x-litellm-timeout': '9' }
  const answer = await api.call('POST', '/v1/chat/completions', {
    body: ask({ job: { priority: 'low' }, timeout: 11 }),
    headers: { ...headers, prefer: 'respond-async' },
  })
  expect(answer.json.priority).toBe('high')
  const { plan } = await api.work({ body: '{}' })
  expect(plan.timeout_s).toBe(7)
})

test.for([
  ['X-Job-Priority', 'urgent'],
  ['X-Job-Delay', '-1'],
  ['X-Job-Delay', 'soon'],
  ['X-Job-Delay', '2592001'],
  ['X-Job-Not-Before', '99999999999'],
  ['X-Job-Expires-In', '0'],
  ['Cancel-After', '0s'],
  ['Cancel-After', '90x'],
  ['Cancel-After', '31d'],
  ['X-Job-Result-TTL', '1.5'],
  ['X-Job-Max-Attempts', '0'],
  ['X-Job-Webhook', 'https://127.0.0.1/'],
  ['X-Job-Timeout', '0'],
] as const)('%s: %s is a 400 that names the header, and stores nothing', async ([header, text]) => {
  const before = await api.stored()
  const answer = await submit({ [header.toLowerCase()]: text })
  expect(answer.status).toBe(400)
  expect(answer.json.error.param.toLowerCase()).toBe(header.toLowerCase())
  expect(await api.stored()).toBe(before)
})

test('a delay and a start time in headers are a 400', async () => {
  const answer = await submit({ 'x-job-delay': '1', 'x-job-not-before': '1' })
  expect([answer.status, answer.json.error.param]).toEqual([400, 'X-Job-Not-Before'])
})
