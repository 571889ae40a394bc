import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { batchStage, type BatchStage } from './batch-stage.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

const ENDPOINT = '/v1/chat/completions'

let api: TestApi
let batches: BatchStage
beforeAll(async () => {
  api = await startApi()
  batches = batchStage(api)
})
afterAll(() => api.close())

async function submit(options: object = {}): Promise<string> {
  const answer = await api.call('POST', '/v1/jobs', { body: { endpoint: ENDPOINT, body: ask(), ...options } })
  return answer.json.id
}

const read = (path: string, etag?: string) =>
  api.call('GET', `/v1/${path}`, etag === undefined ? {} : { headers: { 'if-none-match': etag } })

test('what has not changed is a 304 without a body; every change changes the tag', async () => {
  const id = await submit()
  const first = await read(`jobs/${id}`)
  const { etag } = first.headers
  expect(etag).toMatch(/^"[\w-]{20,}"$/)
  for (const known of [etag, `W/${etag}`, `"other", W/${etag}`, '*']) {
    const again = await read(`jobs/${id}`, known)
    expect([again.status, again.text, again.headers.etag]).toEqual([304, '', etag])
  }
  expect((await read(`jobs/${id}`, '"other"')).status).toBe(200)
  const tags = new Set([etag])
  const see = async () => tags.add((await read(`jobs/${id}`)).headers.etag)
  const claim = await claimNext()
  await see()
  await api.store.claims.start(claim, ['log', attemptLine()])
  await see()
  await api.call('POST', `/v1/jobs/${id}/cancel`)
  await see()
  await api.store.settle.settle(claim.subject, 'claim', claim.token, 'cancelled', null, '')
  await see()
  await api.call('POST', `/v1/jobs/${id}/retry`, { body: { user_config: ask().user_config, delay: 60 } })
  await see()
  expect(tags.size).toBe(6)
})

test('a wait for what is known ends with any change, or with a 304', async () => {
  const id = await submit()
  const { etag } = (await read(`jobs/${id}`)).headers
  expect((await read(`jobs/${id}?wait=0.2`, etag)).status).toBe(304)
  const waiting = read(`jobs/${id}?wait=30`, etag)
  const claim = await claimNext()
  const changed = await waiting
  expect([changed.status, changed.json.status]).toEqual([200, 'in_progress'])
  await api.store.settle.settle(claim.subject, 'claim', claim.token, 'failed', null, '')
  const ended = await read(`jobs/${id}?wait=30`, changed.headers.etag)
  expect(ended.json.status).toBe('failed')
  // Nothing is to come of it.
  const startedAt = performance.now()
  expect((await read(`jobs/${id}?wait=30`, ended.headers.etag)).status).toBe(304)
  expect(performance.now() - startedAt).toBeLessThan(15_000)
})

test('a batch that has not changed is a 304, and a wait for it ends with its next line', async () => {
  const { id } = await batches.create()
  const { settle, finish } = await batches.begin(id, 2)
  const { etag } = (await read(`batches/${id}`)).headers
  expect((await read(`batches/${id}`, etag)).status).toBe(304)
  const waiting = read(`batches/${id}?wait=30`, etag)
  await eventually('somebody waits', () => api.batches.news.size() === 1)
  await settle(0)
  const changed = await waiting
  expect([changed.status, changed.json.request_counts.completed]).toEqual([200, 1])
  await settle(1)
  await finish()
  const ended = await read(`batches/${id}?wait=30`, changed.headers.etag)
  expect(['finalizing', 'completed']).toContain(ended.json.status)
  expect(api.batches.news.size() + api.settled.size()).toBe(0)
})

test('a job that waits in line says where it stands', async () => {
  await api.store.redis.set(api.store.keys.slots, 1)
  const ids: string[] = []
  for (let count = 0; count < 4; count += 1) ids.push(await submit({ customer: 'carol' }))
  const jobs = await Promise.all(ids.map(async (id) => (await read(`jobs/${id}`)).json))
  const positions = jobs.map(({ queue }) => queue.position).filter((position) => position !== null)
  expect(positions.length).toBeGreaterThan(1)
  expect(positions).toEqual(positions.map((_, index) => index + 1))
  const last = ids.at(-1) ?? ''
  const { etag } = (await read(`jobs/${last}`)).headers
  await api.call('POST', `/v1/jobs/${ids.at(-2)}/cancel`)
  const moved = await read(`jobs/${last}`, etag)
  expect([moved.status, moved.json.queue.position]).toEqual([200, positions.length - 1])
  const delayed = await submit({ delay: 60 })
  expect((await read(`jobs/${delayed}`)).json.queue.position).toBeNull()
  const listed = (await read('jobs?customer=carol')).json.data
  expect(listed[0].queue.position).toBeNull()
})

test('the events there are come as a page to whoever accepts JSON', async () => {
  const id = await submit({ customer: 'dave' })
  const page = (path: string, headers: Record<string, string> = {}) =>
    api.call('GET', `/v1/${path}`, { headers: { accept: 'application/json', ...headers } })
  const open = await page(`jobs/${id}/events`)
  expect(open.headers['content-type']).toMatch(/^application\/json/)
  expect(open.json).toMatchObject({ object: 'list', first_id: '0', last_id: '0', has_more: false })
  expect(open.json.data).toMatchObject([{ id: '0', type: 'job.snapshot', job: { id } }])
  await api.call('POST', `/v1/jobs/${id}/cancel`)
  const ended = await page(`jobs/${id}/events`)
  expect(ended.json.data.map(({ type }: { type: string }) => type)).toEqual(['job.snapshot', 'job.cancelled'])
  expect(ended.json.last_id).toBe('0.end')
  const rest = await page(`jobs/${id}/events?starting_after=${ended.json.last_id}`)
  expect(rest.json).toEqual({ object: 'list', data: [], first_id: null, last_id: null, has_more: false })
  const both = await page(`jobs/${id}/events`, { accept: 'text/event-stream, application/json' })
  expect(both.headers['content-type']).toMatch(/^text\/event-stream/)
  const batch = await batches.end(['completed'])
  const ofBatch = await page(`batches/${batch.id}/events`)
  expect(ofBatch.json.data.map(({ type }: { type: string }) => type)).toEqual([
    'batch.snapshot',
    'batch.completed',
  ])
  expect((await page(`jobs/${id}/events?starting_after=x`)).json.error.param).toBe('starting_after')
})

async function claimNext() {
  const fed = await eventually('a job is fed', () => api.store.queued.shift())
  const result = await api.store.claims.claim(fed)
  if (result.kind !== 'claimed') throw new Error(result.kind)
  return result.claim
}

function attemptLine(): string {
  const attempt = { number: 1, deployment: 'openai/gpt-test', model_group: 'mine', provider: 'openai' }
  return `${JSON.stringify({ ...attempt, started_at: 1, ended_at: null, outcome: 'in_flight' })}\n`
}
