import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi
beforeEach(async () => {
  api = await startApi()
})
afterEach(() => api.close())

const PATH = '/v1/chat/completions'
const error = {
  message: 'No such model.',
  type: 'invalid_request_error',
  param: null,
  code: 'model_not_found',
}

/** Redis is away for the read of a result, once. */
function awayAfter(reads: number) {
  const { redis } = api.store
  const read = redis.hmgetBuffer.bind(redis)
  let left = reads
  vi.spyOn(redis, 'hmgetBuffer').mockImplementation(async (...args: Parameters<typeof read>) => {
    if (args.includes('out') && left-- === 0) throw new Error('Connection is closed.')
    return read(...args)
  })
}

test('a failure keeps its own status, which no SDK tries again, when Redis goes away at its end', async () => {
  awayAfter(0)
  const call = api.call('POST', PATH, { body: ask({ stream: true }) })
  const [answer] = await Promise.all([call, api.work({ error })])
  expect(answer).toMatchObject({ status: 502, json: { error }, headers: { 'x-should-retry': 'false' } })
})

test('the events of a job wait for Redis to tell its result', async () => {
  const [{ json }] = await Promise.all([
    api.call('POST', '/v1/jobs', { body: { endpoint: PATH, body: ask() } }),
    api.work({ body: '{"choices":[]}' }),
  ])
  awayAfter(1)
  const { text } = await api.call('GET', `/v1/jobs/${json.id}/events`)
  const [, told = ''] = /event: job.completed\ndata: (.*)\n/.exec(text) ?? []
  expect(JSON.parse(told)).toMatchObject({ job: { response: { body: { choices: [] } } } })
  expect(text).toMatch(/event: end\ndata: {}\n\n$/)
})
