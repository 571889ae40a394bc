import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

const PATH = '/v1/chat/completions'
const COMPLETION = '{"id":"chatcmpl-1","choices":[]}'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

function submit(key: string | null, change: object = {}, by?: string) {
  const headers: Record<string, string> = key === null ? {} : { 'idempotency-key': key }
  const body = { endpoint: PATH, body: ask(), delay: 60, ...change }
  return api.call('POST', '/v1/jobs', { headers, body, key: by })
}

test('the same submit again gives the same job and stores none', async () => {
  const key = randomUUID()
  const first = await submit(key)
  const before = await api.stored()
  const second = await submit(`"${key}"`)
  expect([second.status, second.json.id]).toEqual([202, first.json.id])
  expect(first.headers['idempotent-replayed']).toBeUndefined()
  expect(second.headers['idempotent-replayed']).toBe('true')
  expect(await api.stored()).toBe(before)
})

test('another body under the same key is a 422', async () => {
  const key = randomUUID()
  const before = await api.stored()
  await submit(key)
  const answer = await submit(key, { metadata: { a: 'b' } })
  expect([answer.status, answer.json.error.code]).toEqual([422, 'idempotency_mismatch'])
  expect(answer.headers['x-should-retry']).toBe('false')
  expect(await api.stored()).toBe(before + 1)
})

test('another customer under the same key is a 422, whether he is named in the body or in the header', async () => {
  const key = randomUUID()
  await submit(key)
  expect((await submit(key, { customer: 'carol' })).status).toBe(422)
  const headers = { 'idempotency-key': key, 'x-litellm-customer-id': 'carol' }
  const body = { endpoint: PATH, body: ask(), delay: 60 }
  expect((await api.call('POST', '/v1/jobs', { headers, body })).status).toBe(422)
})

test('a key holds per tenant and route', async () => {
  const key = randomUUID()
  const { key: other } = await api.apiKeys.create('other')
  const headers = { 'idempotency-key': key, prefer: 'respond-async' }
  const jobs = await Promise.all([
    submit(key),
    submit(key, {}, other),
    api.call('POST', PATH, { body: ask(), headers }),
  ])
  expect(jobs.map(({ status }) => status)).toEqual([202, 202, 202])
  expect(new Set(jobs.map(({ json }) => json.id)).size).toBe(3)
  await api.work({ body: COMPLETION })
})

test('the header beats the field of the body', async () => {
  const field = { idempotency_key: randomUUID() }
  const first = await submit(null, field)
  expect((await submit(null, field)).json.id).toBe(first.json.id)
  expect((await submit(randomUUID(), field)).json.id).not.toBe(first.json.id)
})

test('a hundred submits at once make one job', async () => {
  const key = randomUUID()
  const before = await api.stored()
  const answers = await Promise.all(Array.from({ length: 100 }, () => submit(key)))
  expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1)
  expect(answers.filter(({ headers }) => headers['idempotent-replayed'] === undefined)).toHaveLength(1)
  expect(await api.stored()).toBe(before + 1)
})

test('a sync call again waits for the job of the first, and gets its result also after the end', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  const call = () => api.call('POST', PATH, { body: ask(), headers })
  const [first, second] = await Promise.all([call(), call(), api.work({ body: COMPLETION })])
  const third = await call()
  for (const answer of [first, second, third]) {
    expect([answer.status, answer.text]).toEqual([200, COMPLETION])
    expect(answer.headers['x-job-id']).toBe(first.headers['x-job-id'])
  }
  const replayed = [first, second, third].map(({ headers: sent }) => sent['idempotent-replayed'])
  expect(replayed.filter((sent) => sent === 'true')).toHaveLength(2)
  expect(api.store.queued).toEqual([])
})

test('a replay of a job that was purged is a 410, never a second run', async () => {
  const key = randomUUID()
  const { json } = await submit(key)
  await api.store.redis.del(api.store.keys.job(json.id))
  const before = await api.stored()
  const async = await submit(key)
  expect([async.status, async.json.error.code]).toEqual([410, 'result_expired'])
  expect(await api.stored()).toBe(before)
})

test('a submit that may have been stored is not to be sent again by an SDK, unless it has a key', async () => {
  const broken = await startApi()
  broken.store.jobs.create = () => Promise.reject(new Error('Command timed out'))
  const body = { endpoint: PATH, body: ask() }
  const unsafe = await broken.call('POST', '/v1/jobs', { body })
  expect([unsafe.status, unsafe.headers['x-should-retry']]).toEqual([503, 'false'])
  const safe = await broken.call('POST', '/v1/jobs', { body, headers: { 'idempotency-key': 'k' } })
  expect([safe.status, safe.headers['x-should-retry']]).toEqual([503, 'true'])
  broken.store.jobs.create = () =>
    Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"))
  const unsent = await broken.call('POST', '/v1/jobs', { body })
  expect([unsent.status, unsent.headers['x-should-retry']]).toEqual([503, 'true'])
  await broken.close()
})

test('a call whose job is stored waits on while Redis is away', async () => {
  const shaky = await startApi()
  const read = shaky.jobs.read
  let failures = 2
  const large = JSON.stringify({ text: 'x'.repeat(100_000) })
  shaky.jobs.read = (tenant, id) => {
    failures -= 1
    return failures >= 0 ? Promise.reject(new Error('Connection is closed.')) : read(tenant, id)
  }
  const [answer] = await Promise.all([
    shaky.call('POST', PATH, { body: ask() }),
    // Too large to come along with the message of its end: it has to be read.
    shaky.work({ body: large }),
  ])
  expect([answer.status, answer.text]).toEqual([200, large])
  expect(failures).toBeLessThan(0)
  await shaky.close()
})
