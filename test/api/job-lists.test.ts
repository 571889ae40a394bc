import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi
let ids: string[]
let key: string
beforeAll(async () => {
  api = await startApi()
  key = (await api.apiKeys.create('acme')).key
  ids = []
  for (let number = 0; number < 5; number += 1) {
    const metadata = { parity: number % 2 === 0 ? 'even' : 'odd', 'a key': 'x' }
    const options = { metadata, customer: number < 2 ? 'carol' : 'dave', delay: 600 }
    const body = { endpoint: '/v1/chat/completions', body: ask(), ...options }
    ids.unshift((await api.call('POST', '/v1/jobs', { key, body })).json.id)
  }
})
afterAll(() => api.close())

async function list(query: string) {
  const { status, json } = await api.call('GET', `/v1/jobs${query}`, { key })
  return { status, json, ids: json.data?.map(({ id }: { id: string }) => id) }
}

test('a list is in OpenAI’s shape, newest first, and a tenant’s own', async () => {
  const { json } = await list('?limit=2')
  expect(json).toMatchObject({ object: 'list', first_id: ids[0], last_id: ids[1], has_more: true })
  expect(json.data).toHaveLength(2)
  const others = await api.call('GET', '/v1/jobs')
  expect(others.json).toEqual({ object: 'list', data: [], first_id: null, last_id: null, has_more: false })
})

test('pages join without a gap in both directions', async () => {
  const first = await list('?limit=2')
  const second = await list(`?limit=2&after=${first.json.last_id}`)
  const third = await list(`?limit=2&after=${second.json.last_id}`)
  expect([...first.ids, ...second.ids, ...third.ids]).toEqual(ids)
  expect(third.json.has_more).toBe(false)
  expect((await list(`?limit=2&before=${third.json.first_id}`)).ids).toEqual(second.ids)
  expect((await list('?order=asc')).ids).toEqual(ids.toReversed())
})

test('filters narrow the list', async () => {
  expect((await list('?metadata[parity]=odd')).ids).toHaveLength(2)
  expect((await list('?metadata%5Ba%20key%5D=x')).ids).toHaveLength(5)
  expect((await list('?customer=carol')).ids).toHaveLength(2)
  expect((await list('?status=queued&model=mine&endpoint=/v1/chat/completions')).ids).toHaveLength(5)
  expect((await list('?status=completed')).ids).toEqual([])
  expect((await list('?model=other')).ids).toEqual([])
  expect((await list('?created_after=0')).ids).toHaveLength(5)
  expect((await list('?created_before=1')).ids).toEqual([])
})

test.for([
  ['limit=0', 'limit'],
  ['limit=101', 'limit'],
  ['order=up', 'order'],
  ['status=done', 'status'],
  ['status=queued&status=failed', 'status'],
  ['created_after=yesterday', 'created_after'],
  ['tag=x', 'tag'],
  ['metadata=x', 'metadata'],
  ['after=job_unknown', 'after'],
  ['before=job_unknown', 'before'],
  ['after=a&before=b', 'before'],
] as const)('?%s is a 400 that names `%s`', async ([query, param]) => {
  const { status, json } = await list(`?${query}`)
  expect([status, json.error.param]).toEqual([400, param])
})

test('another tenant’s job is no cursor', async () => {
  expect((await api.call('GET', `/v1/jobs?after=${ids[0]}`)).status).toBe(400)
})
