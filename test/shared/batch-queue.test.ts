import { afterEach, beforeEach, expect, test } from 'vitest'
import { createBatchQueue, CHECKS_QUEUE, type BatchQueue } from '../../shared/batches/batch-queue.ts'
import { createBatches } from '../../shared/batches/batches.ts'
import { createLog } from '../../shared/log.ts'
import { openQueue } from '../../shared/jobs/queues.ts'
import { createBatchChores } from '../../worker/batch-chores.ts'
import { testBatchStore, type TestBatchStore } from '../support/batch-store.ts'

let store: TestBatchStore
let queue: BatchQueue
beforeEach(async () => {
  store = await testBatchStore()
  queue = createBatchQueue(store.redis, store.keys)
})
afterEach(async () => {
  await queue.close()
  await store.cleanup()
})

test('the check of a tenant’s first input goes before those of a tenant who had many made at once', async () => {
  const batches = createBatches({
    ...store, queue, store: store.fileStore, log: createLog('silent', 'test'), idempotencyRetentionMs: 60_000,
  }) // oxfmt-ignore
  const make = async (tenant: string) => {
    const batch = store.newBatch({ tenant, inputFileId: await store.makeFile(tenant) })
    await batches.create(batch)
    return batch.id
  }
  const heavy = [await make('heavy'), await make('heavy'), await make('heavy')]
  const light = [await make('light'), await make('light')]
  const checks = openQueue<{ batchId: string }>(CHECKS_QUEUE, store.redis, store.keys)
  try {
    const order = (await checks.getPrioritized()).map(({ data }) => data.batchId)
    expect(order).toEqual([heavy[0], light[0], heavy[1], light[1], heavy[2]])
  } finally {
    await checks.close()
  }
})

test('checks wait for no chunk, nor chunks for them', async () => {
  const id = store.ids.newBatchId('acme')
  const entries = ['v', '1', 'f'].map((chunk) => ({ batchId: id, chunk, generation: 1 }))
  await queue.add(entries)
  for (const entry of entries) {
    expect(await queue.has(entry)).toBe(true)
    expect(await queue.has({ ...entry, generation: 2 })).toBe(false)
  }
  const checks = openQueue(CHECKS_QUEUE, store.redis, store.keys)
  try {
    expect(await checks.count()).toBe(1)
  } finally {
    await checks.close()
  }
})

test('a chunk that lost its queue entry is found, however many others only wait for their turn', async () => {
  const { redis, keys } = store
  const idOf = () => store.ids.newBatchId('heavy')
  const waiting = Array.from({ length: 250 }, () => ({ batchId: idOf(), chunk: 'v', generation: 1 }))
  const lost = { batchId: store.ids.newBatchId('light'), chunk: '1', generation: 1 }
  for (const [index, { batchId, chunk }] of [...waiting, lost].entries()) {
    await redis.hset(keys.batchChunk(batchId, chunk), 'generation', 1, 'open', 1, 'width', 0)
    await redis.zadd(keys.batchWindow, index + 1, `${batchId} ${chunk}`)
  }
  await queue.add(waiting)
  const chores = createBatchChores({
    ...store, queue, store: store.fileStore, feed: async () => {}, expireFiles: async () => {}, log: createLog('silent', 'test'),
  }) // oxfmt-ignore
  for (let round = 0; round < 2; round += 1) for (const chore of chores.seldom) await chore()
  expect(await queue.has({ ...lost, generation: 2 })).toBe(true)
})
