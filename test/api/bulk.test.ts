import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

const ENDPOINT = '/v1/chat/completions'
const FAILURE = { message: 'No.', type: 'server_error', param: null, code: 'bad' }

let api: TestApi
let key: string
let tenants = 0
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())
// A tenant for each test, with no job of the others' before its own.
beforeEach(async () => {
  key = (await api.apiKeys.create(`tenant-${(tenants += 1)}`)).key
})
afterEach(async () => {
  await bulk('cancel', { filter: {} })
  api.store.queued.length = 0
})

async function submit(options: object = {}, owner = key): Promise<string> {
  const body = { endpoint: ENDPOINT, body: ask(), ...options }
  const answer = await api.call('POST', '/v1/jobs', { key: owner, body })
  if (answer.status !== 202) throw new Error(answer.text)
  return answer.json.id
}

async function failed(options: object = {}): Promise<string> {
  const id = await submit(options)
  await api.work({ error: FAILURE })
  return id
}

async function failedOnes(count: number): Promise<string[]> {
  const ids: string[] = []
  for (let number = 0; number < count; number += 1) ids.push(await failed())
  return ids
}

const bulk = async (what: 'cancel' | 'retry', body: object, owner = key) =>
  api.call('POST', `/v1/jobs/${what}`, { key: owner, body })
const read = async (id: string) => (await api.call('GET', `/v1/jobs/${id}`, { key })).json
const fresh = { user_config: ask().user_config }

test('a bulk cancel ends what matches and has not ended, of its own tenant only', async () => {
  const { key: other } = await api.apiKeys.create('other')
  const theirs = await submit({ delay: 600, customer: 'carol' }, other)
  const ended = await failed({ customer: 'carol' })
  const matching = [
    await submit({ delay: 600, customer: 'carol' }),
    await submit({ delay: 600, customer: 'carol' }),
  ]
  const dave = await submit({ delay: 600, customer: 'dave' })
  const answer = await bulk('cancel', { filter: { customer: 'carol' } })
  expect([answer.status, answer.json]).toEqual([
    202,
    { object: 'bulk', matched: 2, cancelled: 2, failed: [], has_more: false, last_id: matching[0] },
  ])
  for (const id of matching) expect((await read(id)).status).toBe('cancelled')
  expect((await read(ended)).status).toBe('failed')
  expect((await read(dave)).status).toBe('queued')
  expect((await api.call('GET', `/v1/jobs/${theirs}`, { key: other })).json.status).toBe('queued')
})

test('no more than `limit` are cancelled, and a call with `after` goes on', async () => {
  const ids = []
  for (let number = 0; number < 5; number += 1) {
    ids.push(await submit({ delay: 600, metadata: { run: 'a' } }))
  }
  const filter = { metadata: { run: 'a' }, status: 'queued' }
  const first = (await bulk('cancel', { filter, limit: 3 })).json
  expect(first).toMatchObject({ matched: 3, cancelled: 3, has_more: true, last_id: ids[2] })
  const second = (await bulk('cancel', { filter, limit: 3, after: first.last_id })).json
  expect(second).toMatchObject({ matched: 2, cancelled: 2, has_more: false })
})

test('a bulk retry runs each job again once, however often and by how many it is asked for', async () => {
  const ids = await failedOnes(12)
  await submit({ delay: 600 })
  const before = await api.stored()
  const answers = await Promise.all([1, 2, 3].map(() => bulk('retry', { filter: {}, ...fresh })))
  const retried = answers.reduce((sum, { json }) => sum + json.retried, 0)
  expect(retried).toBe(12)
  for (const { json } of answers) {
    expect(json.matched).toBe(json.retried + json.failed.length)
    for (const { code } of json.failed) expect(code).toBe('already_retried')
  }
  for (const id of ids) expect((await read(id)).retried_by).toMatch(/^job_/)
  expect((await bulk('retry', { filter: {}, ...fresh })).json).toMatchObject({ matched: 0, retried: 0 })
  expect(await api.stored()).toBe(before + 12)
})

test('jobs whose credentials are missing are named, and the others run', async () => {
  const [id] = await failedOnes(1)
  const answer = await bulk('retry', { filter: {} })
  expect(answer.json).toMatchObject({
    matched: 1,
    retried: 0,
    failed: [{ id, code: 'credentials_required' }],
  })
  expect((await read(id ?? '')).retried_by).toBeNull()
})

test('what was cancelled on purpose is retried only when it is asked for', async () => {
  const id = await submit({ delay: 600 })
  await bulk('cancel', { filter: {} })
  expect((await bulk('retry', { filter: {}, ...fresh })).json.matched).toBe(0)
  const asked = await bulk('retry', { filter: { status: 'cancelled' }, ...fresh, metadata: { again: 'yes' } })
  expect(asked.json).toMatchObject({ matched: 1, retried: 1 })
  const { retried_by: again } = await read(id)
  expect((await read(again)).metadata).toEqual({ again: 'yes' })
})

test.for([
  ['cancel', {}, 'filter'],
  ['cancel', { filter: { tag: 'x' } }, 'filter.tag'],
  ['cancel', { filter: { status: 'failed' } }, 'filter.status'],
  ['cancel', { filter: {}, limit: 1001 }, 'limit'],
  ['cancel', { filter: {}, user_config: {} }, 'user_config'],
  ['cancel', { filter: {}, after: 'job_unknown' }, 'after'],
  ['retry', { filter: { status: 'completed' } }, 'filter.status'],
  ['retry', { filter: {}, after: 'job_unknown' }, 'after'],
] as const)('a bulk %s of %j is a 400 that names `%s`', async ([what, body, param]) => {
  const answer = await bulk(what, body)
  expect([answer.status, answer.json.error.param]).toEqual([400, param])
})
