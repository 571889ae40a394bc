import { afterEach, beforeEach, expect, test } from 'vitest'
import { createJobs } from '../../shared/jobs/jobs.ts'
import { createJobQueue, entryWidth, JOBS_QUEUE } from '../../shared/jobs/queues.ts'
import { createWindow } from '../../shared/jobs/window.ts'
import { createLog } from '../../shared/log.ts'
import { eventually } from '../support/eventually.ts'
import { testStore } from '../support/store.ts'

let store: ReturnType<typeof testStore>
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

const submit = (change: Parameters<typeof store.jobInput>[0] = {}) =>
  store.jobs.create(store.jobInput(change))
const entryOf = (id: string) => store.redis.hget(store.keys.job(id), 'entry')

test('an entry holds one job where slots are few, and at most sixteen where they are many', () => {
  expect([0, 1, 31, 32, 63, 64, 500, 512, 10_000].map(entryWidth)).toEqual([1, 1, 1, 1, 1, 2, 15, 16, 16])
})

test('jobs of one turn share an entry, and each knows which', async () => {
  await store.window.beat('w1', 500, 10_000)
  // Until a first job has come nobody knows how many slots there are.
  await submit()
  store.queued.length = 0
  const made = await Promise.all([submit(), submit(), submit({ delayMs: 60_000 }), submit()])
  const ids = made.map((result) => ('id' in result ? result.id : ''))
  expect(store.queued.map(({ id }) => id)).toEqual([ids[0], ids[1], ids[3]])
  const name = `${ids[0]}-0`
  expect(store.queued.map(({ entry }) => entry)).toEqual([name, name, name])
  expect(await Promise.all(ids.map(entryOf))).toEqual([null, name, null, name])
})

test('while there is room an entry is on its way behind the record, before that is answered', async () => {
  await store.window.beat('w1', 500, 10_000)
  const said: string[] = []
  const queue = { ...store.queue, add: async () => void said.push('queued') }
  const log = createLog('silent', 'test')
  const jobs = createJobs({ ...store, queue, log, idempotencyRetentionMs: 1000 })
  const create = async () => {
    await jobs.create(store.jobInput())
    said.push('created')
  }
  await create()
  await eventually('the first is enqueued', () => said.length === 2)
  await create()
  expect(said).toEqual(expect.arrayContaining(['created', 'queued']))
  expect(said.slice(2)).toEqual(['queued', 'created'])
})

test('what has no room after all is no worse off for having been announced', async () => {
  await store.window.beat('w1', 64, 10_000)
  const limit = 54 // 85% of the slots
  for (let made = 0; made < limit + 10; made++) await submit()
  expect(await store.redis.zcard(store.keys.window)).toBe(limit)
  const claims = await Promise.all(store.queued.map((fed) => store.claims.claim(fed)))
  expect(claims.filter(({ kind }) => kind === 'claimed')).toHaveLength(limit)
  // The one that was guessed wrong waits in its owner's line, and is let in from there.
  const [first] = claims.flatMap((result) => (result.kind === 'claimed' ? [result.claim] : []))
  if (!first) throw new Error('nothing claimed')
  await store.settle.settle(first.subject, 'claim', first.token, 'failed', null, '')
  const [fed] = await store.window.feed()
  expect(fed && (await store.claims.claim(fed)).kind).toBe('claimed')
})

test('a job that is let in later is enqueued, whatever the entry is called that one beside it was announced in', async () => {
  const { redis, keys } = store
  await store.window.beat('w1', 500, 10_000)
  await redis.hset(keys.concurrency, 'acme', 1)
  const queue = createJobQueue(redis, keys)
  const log = createLog('silent', 'test')
  const jobs = createJobs({ ...store, queue, log, idempotencyRetentionMs: 1000 })
  const create = async (tenant: string) => {
    const input = store.jobInput({ tenant })
    await jobs.create(input)
    return input.id
  }
  await create('acme')
  const announced = await Promise.all([create('acme'), create('other')])
  const later = await create('acme')
  const enqueued = async () => {
    const names = await redis.lrange(keys.queueWaiting(JOBS_QUEUE), 0, -1)
    const entries = names.map((name) => redis.hget(`${keys.queuePrefix}:${JOBS_QUEUE}:${name}`, 'data'))
    return (await Promise.all(entries)).join()
  }
  await eventually('those that were admitted are enqueued', async () =>
    (await enqueued()).includes(announced[1]),
  )
  await redis.hdel(keys.concurrency, 'acme')
  const fed = await store.window.feed()
  expect(fed.map(({ id }) => id)).toEqual([announced[0], later])
  await queue.add(fed)
  expect(await enqueued()).toContain(later)
  await queue.close()
})

test('jobs that are let in together share entries too, and BullMQ is asked for the entry that has them', async () => {
  await store.window.beat('w1', 200, 10_000)
  await Promise.all(Array.from({ length: 12 }, () => submit({ delayMs: 1 })))
  await eventually('they wait', async () => (await store.window.wake()).tenantsWaiting === 1)
  const fed = await store.window.feed()
  expect(fed).toHaveLength(12)
  expect(new Set(fed.map(({ id, generation, entry }) => entry || `${id}-${generation}`)).size).toBe(2)
  const queue = createJobQueue(store.redis, store.keys)
  await queue.add(fed)
  const later = createWindow(store.redis, store.keys, () => Date.now() + 60_000)
  const overdue = await later.overdue()
  expect(overdue).toHaveLength(12)
  expect(await Promise.all(overdue.map((job) => queue.has(job)))).toEqual(overdue.map(() => true))
  const [one] = overdue
  const again = one && (await later.refeed(one))
  expect(again && (await queue.has(again))).toBe(false)
  await queue.close()
})
