import { afterEach, beforeEach, expect, test } from 'vitest'
import { createEvents, type NewEvent } from '../../shared/webhooks/events.ts'
import { dumpRedis } from '../support/dump.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

let store: TestStore
let webhooks: TestWebhooks
beforeEach(() => {
  store = testStore()
  webhooks = testWebhooks(store)
})
afterEach(async () => {
  await webhooks.close()
  await store.cleanup()
})

/** Keeps an event as an announcement does. */
async function keep(subjectId: string, change: Partial<NewEvent> = {}): Promise<string> {
  const type = change.type ?? 'job.completed'
  const id = store.ids.eventId(subjectId, type)
  const data = { id: subjectId, metadata: { note: '7f3a-of-the-client' } }
  const body = JSON.stringify({ id, object: 'event', created_at: 1, type, data })
  const event = { id, tenant: 'acme', type, subjectId, body, ...change }
  await webhooks.deliveries.create(subjectId, { events: [event], deliveries: [], isNews: true })
  return id
}

test('an event is read by its tenant alone, and lies sealed', async () => {
  const events = createEvents(store)
  const id = await keep('job_1')
  expect(await events.read('acme', id)).toMatchObject({ id, object: 'event', data: { id: 'job_1' } })
  expect(await events.read('other', id)).toBeNull()
  expect(await events.read('acme', 'evt_*')).toBeNull()
  const text = (await dumpRedis(store.redis)).toString('latin1')
  expect(text).toContain(id)
  expect(text).not.toContain('7f3a-of-the-client')
})

test('an event is kept once, as it was at first', async () => {
  const events = createEvents(store)
  const id = await keep('job_1')
  const first = await events.read('acme', id)
  await keep('job_1', { body: JSON.stringify({ ...first, created_at: 2 }) })
  expect(await events.read('acme', id)).toEqual(first)
  expect((await events.list('acme', { limit: 10 }))?.events).toHaveLength(1)
})

test('a list has the newest first, goes from page to page, and filters by type and by what it is about', async () => {
  const events = createEvents(store)
  const ids = [await keep('job_1')]
  ids.unshift(await keep('job_1', { type: 'response.completed' }))
  ids.unshift(await keep('batch_1', { type: 'batch.completed' }))
  await keep('job_2', { tenant: 'other' })
  const list = async (filter: object) => {
    const page = await events.list('acme', { limit: 10, ...filter })
    return page && { ids: page.events.map(({ id }) => id), hasMore: page.hasMore }
  }
  const all = await list({})
  expect(new Set(all?.ids)).toEqual(new Set(ids))
  expect(await list({ limit: 2 })).toEqual({ ids: all?.ids.slice(0, 2), hasMore: true })
  expect(await list({ after: all?.ids[1] })).toEqual({ ids: all?.ids.slice(2), hasMore: false })
  expect(await list({ after: 'evt_unknown' })).toBeNull()
  expect(await list({ type: 'batch.completed' })).toEqual({ ids: [ids[0]], hasMore: false })
  expect(new Set((await list({ subject: 'job_1' }))?.ids)).toEqual(new Set(ids.slice(1)))
  expect(new Set((await list({ subject: 'resp_1' }))?.ids)).toEqual(new Set(ids.slice(1)))
})

test('events go by themselves, and earlier where their tenant wants it', async () => {
  const events = createEvents(store)
  const { redis, keys } = store
  const [old, recent] = [await keep('job_1'), await keep('job_2')]
  for (const key of [keys.event(old), keys.eventIndex('acme')]) {
    expect(await redis.pttl(key)).toBeGreaterThan(29 * 86_400_000)
  }
  const now = Date.now()
  await redis.zadd(keys.eventIndex('acme'), now - 1_000, old)
  expect(await events.trim('acme', now - 500)).toBe(1)
  expect(await events.trim('acme', now - 500)).toBe(0)
  expect(await events.read('acme', old)).toBeNull()
  expect((await events.list('acme', { limit: 10 }))?.events.map(({ id }) => id)).toEqual([recent])
  // One whose time is over, found in the index: it is left out, and the next event takes it out of there.
  await redis.del(keys.event(recent))
  await redis.zadd(keys.eventIndex('acme'), now - 31 * 86_400_000, recent)
  expect((await events.list('acme', { limit: 10 }))?.events).toEqual([])
  const next = await keep('job_3')
  expect(await redis.zrange(keys.eventIndex('acme'), '0', '-1')).toEqual([next])
})
