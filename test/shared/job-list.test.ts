import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatMeta, parseMeta } from '../../shared/jobs/record-texts.ts'
import { testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

/** Records that hold just what a list reads: ten thousand real submits would take their time. */
async function fill(count: number, model: (number: number) => string): Promise<string[]> {
  const template = store.jobInput()
  await store.jobs.create(template)
  const record = await store.redis.hgetall(store.keys.job(template.id))
  await store.redis.del(store.keys.index('acme'))
  const ids = Array.from({ length: count }, () => store.ids.newJobId('acme'))
  const pipeline = store.redis.pipeline()
  for (const [number, id] of ids.entries()) {
    const meta = { ...parseMeta(record.meta ?? ''), model: model(number) }
    const fields = ['tenant', 'acme', 'status', 'queued', 'created', 1, 'meta', formatMeta(meta)]
    pipeline.hset(store.keys.job(id), ...fields)
    pipeline.zadd(store.keys.index('acme'), number, id)
  }
  await pipeline.exec()
  return ids
}

const page = { limit: 20, order: 'asc' as const }

test('a filter that matches nothing stops after 10,000 jobs and says where to go on', async () => {
  const ids = await fill(10_201, (number) => (number === 10_200 ? 'rare' : 'main'))
  const first = await store.jobs.list('acme', { ...page, model: 'rare' })
  expect(first).toEqual({ jobs: [], hasMore: true, goOnFrom: ids[9_999] })
  const second = await store.jobs.list('acme', { ...page, model: 'rare', after: ids[9_999] })
  expect(second).toMatchObject({ jobs: [{ id: ids[10_200] }], hasMore: false, goOnFrom: null })
  const backwards = await store.jobs.list('acme', { ...page, model: 'none', before: ids[10_200] })
  expect(backwards).toEqual({ jobs: [], hasMore: true, goOnFrom: ids[200] })
})

test('nothing is looked at any more for a client that left', async () => {
  await fill(3, () => 'main')
  const list = await store.jobs.list('acme', { ...page, model: 'none' }, AbortSignal.abort())
  expect(list).toEqual({ jobs: [], hasMore: true, goOnFrom: null })
})

test('records that are gone hide none of those behind them', async () => {
  const ids = await fill(450, (number) => (number >= 200 && number < 260 ? 'wanted' : 'main'))
  await store.redis.unlink(ids.slice(0, 100).map((id) => store.keys.job(id)))
  const list = await store.jobs.list('acme', { ...page, limit: 100, model: 'wanted' })
  expect(list?.jobs.map(({ id }) => id)).toEqual(ids.slice(200, 260))
})

test('a job whose error was sealed with a key that is gone is listed without it', async () => {
  const [first, second] = await fill(2, () => 'main')
  await store.redis.hset(
    store.keys.job(first ?? ''),
    'error',
    Buffer.from([1, 2, 0x6b, 0x39, ...Array(60).fill(7)]),
  )
  const list = await store.jobs.list('acme', page)
  expect(list?.jobs.map(({ id, error }) => [id, error])).toEqual([
    [first, null],
    [second, null],
  ])
})
