import { afterEach, beforeEach, expect, test } from 'vitest'
import { testBatchStore, type TestBatchStore } from '../support/batch-store.ts'
import {
  inputLine,
  lineOf,
  readOutcomes,
  replyWith,
  submit,
  testBatchWorker,
  type TestBatchWorker,
} from '../support/batch-worker.ts'

let store: TestBatchStore
let worker: TestBatchWorker
beforeEach(async () => {
  store = await testBatchStore({ leaseMs: 6_000 })
  await store.beat('w1', 8, 60_000)
  worker = testBatchWorker(store, { leaseMs: 6_000 })
})
afterEach(async () => {
  await worker.close()
  await store.cleanup()
})

const linesOf = (count: number) => Array.from({ length: count }, (_, number) => inputLine(number))

test('a batch whose input is gone before it was validated has failed, and says why', async () => {
  const id = await submit(store, linesOf(3))
  const { inputFileId = '' } = (await store.batches.read('acme', id)) ?? {}
  await store.fileStore.remove(`files/${inputFileId}/`)
  await worker.runAll()
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'failed',
    errors: [{ code: 'input_unreadable', param: 'input_file_id' }],
  })
})

test('a batch whose input is lost while it runs ends with what was done', async () => {
  const id = await submit(store, linesOf(40))
  const [first, ...others] = await worker.begin(id)
  if (!first) throw new Error('nothing was cut')
  await worker.run(first)
  const { inputFileId = '', completed } = (await store.batches.read('acme', id)) ?? {}
  expect(completed).toBeGreaterThan(0)
  await store.fileStore.remove(`files/${inputFileId}/`)
  store.queued.push(...others)
  await worker.runAll()
  const view = await store.batches.read('acme', id)
  expect(view).toMatchObject({ status: 'failed', completed, errors: [{ code: 'input_unreadable' }] })
  expect(view?.outputFileId).toMatch(/^file-/)
  expect(worker.calls).toHaveLength(completed ?? -1)
})

test('a line that breaks in a way that nobody foresaw fails alone, and is not tried again', async () => {
  const broken = testBatchWorker(store, {
    leaseMs: 6_000,
    answer: (call) => {
      if (lineOf(call) === 1) throw new TypeError('a fault of ours')
      return replyWith()
    },
  })
  const id = await submit(store, linesOf(3))
  await broken.runAll()
  const outcomes = await readOutcomes(store, broken, id)
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['completed', 'failed', 'completed'])
  expect(outcomes[1]?.told.response).toMatchObject({
    status_code: 500,
    body: { error: { code: 'internal_error' } },
  })
  expect(broken.calls).toHaveLength(3)
  await broken.close()
})

test('a batch whose validation breaks every time ends at its deadline all the same', async () => {
  const broken = testBatchWorker(store, {
    leaseMs: 6_000,
    claims: { lineKeys: () => Promise.reject(new TypeError('a fault of ours')) },
  })
  const id = await submit(store, linesOf(2))
  await store.ends.stop({ id, tenant: 'acme', owner: '' }, 'expired')
  let fed = store.take(id, 'v')
  for (let tries = 0; fed && tries < 4; tries++) {
    await broken.run(fed).catch(() => undefined)
    await store.redis.zadd(store.keys.batchWindow, 'XX', '1', `${id} v`)
    fed = (await store.window.refeed(fed)) ?? undefined
  }
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'expired',
    errors: [{ code: 'internal_error' }],
  })
  await broken.close()
})
