import { afterAll, beforeAll, expect, test } from 'vitest'
import { redisNowMs } from '../../shared/redis.ts'
import { eventually } from '../support/eventually.ts'
import { ask, startApi, type TestApi } from './fixture.ts'
import { fileForm } from './file-forms.ts'

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

test('a tenant that keeps results, batches and files less long gets no more, whatever a call asks for', async () => {
  const retention = { results_seconds: 100, batches_seconds: 200, files_seconds: 300 }
  await api.tenants.create('brief', { retention })
  const { key } = await api.apiKeys.create('brief')
  const submitted = await api.call('POST', '/v1/jobs', {
    key, body: { endpoint: '/v1/chat/completions', body: ask(), result_ttl: 3_600 },
  }) // oxfmt-ignore
  await api.work({ body: ANSWER })
  const job = (await api.call('GET', `/v1/jobs/${submitted.json.id}`, { key })).json
  expect(job.result_expires_at - job.completed_at).toBeLessThanOrEqual(101)

  const uploads = [fileForm('text', 'user_data'), fileForm('', 'batch')]
  for (const form of uploads) {
    const file = (await api.call('POST', '/v1/files', { ...form, key })).json
    expect(file.expires_at - file.created_at).toBe(300)
  }
  const line = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: ask() }
  const request = { endpoint: '/v1/chat/completions', completion_window: '24h', requests: [line] }
  const batch = (await api.call('POST', '/v1/batches', { key, body: request })).json
  const { keptAtMost } = (await api.batches.batches.read('brief', batch.id)) ?? {}
  expect(keptAtMost).toEqual({ batchS: 200, filesS: 300 })
  const input = (await api.call('GET', `/v1/files/${batch.input_file_id}`, { key })).json
  expect(input.expires_at - input.created_at).toBe(300)
})
