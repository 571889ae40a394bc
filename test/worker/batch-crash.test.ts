import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FileStore } from '../../shared/files/file-store.ts'
import type { CallOutcome, ProviderCall } from '../../worker/providers/provider.ts'
import { lineEnd, testBatchStore, type TestBatchStore } from '../support/batch-store.ts'
import {
  brokenDown,
  inputLine,
  lineOf,
  readOutcomes,
  replyWith,
  submit,
  testBatchWorker,
  untilStopped,
  type TestBatchWorker,
} from '../support/batch-worker.ts'
import { eventually, gate } from '../support/eventually.ts'

const LEASE_MS = 400

let store: TestBatchStore
const workers: TestBatchWorker[] = []
beforeEach(async () => {
  store = await testBatchStore({ leaseMs: LEASE_MS })
  await store.beat('w1', 100, 60_000)
})
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.close()))
  await store.cleanup()
})

function start(options: Parameters<typeof testBatchWorker>[1] = {}): TestBatchWorker {
  const worker = testBatchWorker(store, { leaseMs: LEASE_MS, ...options })
  workers.push(worker)
  return worker
}

const linesOf = (count: number) => Array.from({ length: count }, (_, number) => inputLine(number))
const never = <T>() => new Promise<T>(() => {})

const notToLineOne = (call: ProviderCall) => (lineOf(call) === 1 ? never<CallOutcome>() : replyWith())

/** Begins a batch and gives its chunks to a worker, as a queue would. */
async function runBy(worker: TestBatchWorker, batchId: string): Promise<void> {
  const chunks = await worker.begin(batchId)
  store.queued.length = 0
  for (const chunk of chunks) void worker.run(chunk)
}

/** The worker is not heard of any more; what it held is taken up by another. */
async function die(worker: TestBatchWorker, other: TestBatchWorker): Promise<void> {
  worker.chunks.close()
  await eventually('the lease has run out', async () => {
    for (const chunk of await store.window.overdue()) {
      const again = await store.window.refeed(chunk)
      if (again) store.queued.push(again)
    }
    return store.queued.length > 0
  })
  await other.runAll()
}

test('results that a dead worker had made durable are settled by these; nobody is called again', async () => {
  const id = await submit(store, linesOf(5))
  const settled: number[] = []
  const dying = start({
    claims: {
      settle: (_claim, { entry }) => {
        settled.push(entry.line)
        return never()
      },
    },
    answer: (call) => replyWith({ said: lineOf(call) }),
  })
  await runBy(dying, id)
  await eventually('all results are durable', () => settled.length === 5)
  const other = start()
  await die(dying, other)
  expect(other.calls).toHaveLength(0)
  const outcomes = await readOutcomes(store, other, id)
  expect(outcomes.map(({ told }) => told.response?.body['said'])).toEqual([0, 1, 2, 3, 4])
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'completed',
    completed: 5,
    usage: { input: 15, output: 10 },
  })
})

test('only the lines whose call was in flight are called again, and the lost call may be on the bill', async () => {
  const id = await submit(store, linesOf(6))
  const dying = start({ answer: (call) => (lineOf(call) < 4 ? replyWith() : never<CallOutcome>()) })
  await runBy(dying, id)
  await eventually('four are settled', async () => (await store.batches.read('acme', id))?.completed === 4)
  const other = start()
  await die(dying, other)
  expect(other.calls.map(lineOf).toSorted((a, b) => a - b)).toEqual([4, 5])
  const outcomes = await readOutcomes(store, other, id)
  expect(outcomes).toHaveLength(6)
  expect(outcomes[5]?.meta.attempts).toMatchObject([
    { outcome: 'lost', possibly_billed: true },
    { outcome: 'completed' },
  ])
  expect(await store.batches.read('acme', id)).toMatchObject({ status: 'completed', completed: 6 })
})

test('a line that takes its workers with it ends when its crashes are used up, and the others do not', async () => {
  const id = await submit(store, linesOf(2))
  const options = { answer: notToLineOne, crashesMax: 1 }
  const [first, second, third] = [start(options), start(options), start(options)]
  await runBy(first, id)
  await eventually('both were called', () => first.calls.length === 2)
  first.chunks.close()
  void die(first, second)
  await eventually('it was called again', () => second.calls.some((call) => lineOf(call) === 1))
  await die(second, third)
  expect(third.calls).toHaveLength(0)
  const outcomes = await readOutcomes(store, third, id)
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['completed', 'failed'])
  expect(outcomes[1]?.told.response?.body).toMatchObject({ error: { code: 'worker_lost' } })
  expect(outcomes[1]?.meta.attempts.map(({ outcome }) => outcome)).toEqual(['lost', 'lost'])
})

test('a worker that ends finishes its calls and gives back the rest, at once', async () => {
  const id = await submit(store, linesOf(30))
  const held = gate()
  const ending = start({
    slots: 10,
    async answer() {
      await held.opened
      return replyWith()
    },
  })
  await runBy(ending, id)
  await eventually('calls are in flight', () => ending.calls.length === 9)
  ending.drain()
  held.open()
  await ending.chunks.idle()
  expect(ending.calls).toHaveLength(9)
  const other = start()
  await store.window.wake()
  await other.runAll()
  expect(other.calls).toHaveLength(21)
  expect(await store.batches.read('acme', id)).toMatchObject({ status: 'completed', completed: 30 })
})

test('a call that does not end before its worker does is given up, marked, and no crash', async () => {
  const id = await submit(store, linesOf(1))
  const ending = start({ answer: untilStopped })
  await runBy(ending, id)
  await eventually('the call is in flight', () => ending.calls.length === 1)
  ending.drain()
  ending.chunks.stopAll('drained')
  await ending.chunks.idle()
  const other = start({ crashesMax: 0 })
  await store.window.wake()
  await other.runAll()
  const [outcome] = await readOutcomes(store, other, id)
  expect(outcome?.meta.attempts).toMatchObject([
    { outcome: 'aborted', possibly_billed: true },
    { outcome: 'completed' },
  ])
})

test('a line that is about to be tried again when its worker ends is not cancelled by that', async () => {
  const id = await submit(store, linesOf(1))
  const ending = start({
    answer() {
      ending.drain()
      return ending.calls.length === 1 ? brokenDown() : replyWith()
    },
  })
  await runBy(ending, id)
  await eventually('it was tried', () => ending.calls.length > 0)
  await ending.chunks.idle()
  const other = start()
  await store.window.wake()
  await other.runAll()
  const [outcome] = await readOutcomes(store, other, id)
  expect(outcome?.meta.attempts.map((attempt) => attempt.outcome)).toEqual(['failed', 'completed'])
})

test('a paid result is kept until the store takes it', async () => {
  const id = await submit(store, linesOf(3))
  let refusals = 2
  const fileStore: FileStore = {
    ...store.fileStore,
    openLog(name) {
      const log = store.fileStore.openLog(name)
      const append = async (bytes: Uint8Array) => {
        if (refusals-- > 0) throw new Error('The disk is full.')
        return log.append(bytes)
      }
      return { ...log, append }
    },
  }
  const worker = start({ fileStore })
  await worker.runAll()
  expect(worker.calls).toHaveLength(3)
  expect(await readOutcomes(store, worker, id)).toHaveLength(3)
  expect(await store.batches.read('acme', id)).toMatchObject({ status: 'completed', completed: 3 })
})

test('a batch whose finish was begun by a worker that died is finished once', async () => {
  const id = await submit(store, linesOf(8))
  const dying = start({ claims: { entries: () => never() } })
  const [chunk] = await dying.begin(id)
  store.queued.length = 0
  await store.batches.cancel('acme', id)
  if (chunk) await dying.run(chunk)
  const finish = store.take(id, 'f')
  if (!finish) throw new Error('the end was not enqueued')
  void dying.run(finish)
  await eventually('all lines are told', async () => (await store.batches.read('acme', id))?.cancelled === 8)
  const other = start()
  await die(dying, other)
  const outcomes = await readOutcomes(store, other, id)
  expect(outcomes.map(({ told }) => told.custom_id)).toEqual(linesOf(8).map((line) => line['custom_id']))
  expect(await store.batches.read('acme', id)).toMatchObject({ status: 'cancelled', cancelled: 8, total: 8 })
})

test('nobody is called for a line whose answer an earlier claim brings in meanwhile, and the batch ends', async () => {
  const lines = linesOf(3).map((_, number) => inputLine(number, { api_key: undefined }))
  const id = await submit(store, lines, { defaults: { api_key: 'sk-of-the-batch' } })
  const worker = start({
    claims: {
      async claim(fed, at) {
        const result = await store.claims.claim(fed, at)
        if (result.kind === 'claimed' && fed.chunk === '1')
          await store.claims.settle({ ...result.claim, token: 'of an earlier one' }, lineEnd(1))
        return result
      },
    },
  })
  await worker.runAll()
  expect(worker.calls.map(lineOf)).toEqual([0, 2])
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'completed',
    completed: 3,
    inProgress: 0,
  })
})
