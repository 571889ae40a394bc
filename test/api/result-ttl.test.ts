import { afterAll, beforeAll, expect, test } from 'vitest'
import { redisNowMs } from '../../shared/redis.ts'
import { eventually } from '../support/eventually.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi

beforeAll(async () => {
  api = await startApi()
})

afterAll(() => api?.close())

const ANSWER = '{"object":"chat.completion","choices":[]}'

/** How long the job is still kept, in milliseconds. */
async function keptMs(id: string): Promise<number> {
  const { redis, keys } = api.store
  return Number(await redis.zscore(keys.due, id)) - (await redisNowMs(redis))
}

async function submit(options: object): Promise<string> {
  const body = { endpoint: '/v1/chat/completions', body: ask(), ...options }
  const { status, json } = await api.call('POST', '/v1/jobs', { body })
  expect(status).toBe(202)
  return (json as { id: string }).id
}

test('with `result_ttl: 0` a job is kept a minute for whoever waits, and goes in seconds once its result was read', async () => {
  const id = await submit({ result_ttl: 0 })
  expect((await api.call('GET', `/v1/jobs/${id}`)).status).toBe(200)
  await api.work({ body: ANSWER })
  expect(await keptMs(id)).toBeGreaterThan(50_000)
  expect((await api.call('GET', `/v1/jobs/${id}/result`)).text).toBe(ANSWER)
  await eventually('it is to go', async () => (await keptMs(id)) <= 5_000)
  // Whoever lost the answer on its way finds it for these seconds, and does not make them more.
  const left = await keptMs(id)
  expect((await api.call('GET', `/v1/jobs/${id}`)).json).toMatchObject({ status: 'completed' })
  expect(await keptMs(id)).toBeLessThanOrEqual(left)
})

test('with `result_ttl: 0` a held call that was answered is enough', async () => {
  const [answer] = await Promise.all([
    api.call('POST', '/v1/chat/completions', { body: ask({ job: { result_ttl: 0 } }) }),
    api.work({ body: ANSWER }),
  ])
  expect(answer.text).toBe(ANSWER)
  const id = String(answer.headers['x-job-id'])
  await eventually('it is to go', async () => (await keptMs(id)) <= 5_000)
})

test('while a webhook is to be told of it a read lets nothing go, and without `result_ttl: 0` it never does', async () => {
  const told = await submit({ result_ttl: 0, webhook: { url: 'https://hooks.example.com/in' } })
  await api.work({ body: ANSWER })
  const kept = await submit({ result_ttl: 60 })
  await api.work({ body: ANSWER })
  for (const id of [told, kept]) {
    expect((await api.call('GET', `/v1/jobs/${id}/result`)).text).toBe(ANSWER)
    // The answer before has been dealt with when the next one is there.
    await api.call('GET', `/v1/jobs/${id}`)
    expect(await keptMs(id)).toBeGreaterThan(50_000)
  }
})
