import { afterEach, beforeEach, expect, test } from 'vitest'
import type { OrderEntry } from '../../shared/batches/batch-results.ts'
import { createLog } from '../../shared/log.ts'
import { createResultLogs } from '../../shared/batches/result-log.ts'
import { createBatchPlaces } from '../../worker/batch-places.ts'
import { testBatchStore, type TestBatchStore } from '../support/batch-store.ts'
import {
  inputLine,
  lineOf,
  rateLimited,
  readOutcomes,
  refusedKey,
  replyWith,
  submit,
  testBatchWorker,
  untilStopped,
  type TestBatchWorker,
} from '../support/batch-worker.ts'
import { eventually, gate } from '../support/eventually.ts'
import { lineResult } from '../support/results.ts'

let store: TestBatchStore
const workers: TestBatchWorker[] = []
beforeEach(async () => {
  store = await testBatchStore({ leaseMs: 6_000 })
  await store.beat('w1', 100, 60_000)
})
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.close()))
  await store.cleanup()
})

function start(options: Parameters<typeof testBatchWorker>[1] = {}): TestBatchWorker {
  const worker = testBatchWorker(store, { leaseMs: 6_000, ...options })
  workers.push(worker)
  return worker
}

const linesOf = (count: number, change: Record<string, unknown> = {}) =>
  Array.from({ length: count }, (_, number) => inputLine(number, change))
const view = async (id: string) => {
  const found = await store.batches.read('acme', id)
  if (!found) throw new Error('it is gone')
  return found
}

test('each line of a batch is called once with its own key, and its answer told once', async () => {
  const id = await submit(store, linesOf(120))
  const worker = start({ answer: (call) => replyWith({ said: `answer ${lineOf(call)}` }) })
  await worker.runAll()
  const keys = worker.calls.map((call) => [lineOf(call), call.bundle.api_key])
  expect(keys.toSorted(([a], [b]) => Number(a) - Number(b))).toEqual(
    linesOf(120).map((_, number) => [number, `sk-of-line-${number}`]),
  )
  const outcomes = await readOutcomes(store, worker, id)
  expect(outcomes).toHaveLength(120)
  outcomes.forEach(({ outcome, told }, number) => {
    expect(outcome).toBe('completed')
    expect(told).toMatchObject({ custom_id: `line ${number}`, error: null })
    expect(told.response).toEqual({
      status_code: 200,
      request_id: 'req_theirs',
      body: { said: `answer ${number}` },
    })
  })
  expect(await view(id)).toMatchObject({ status: 'completed', total: 120, completed: 120, failed: 0 })
})

test('never more lines of a process are called at once than it has slots for', async () => {
  await submit(store, linesOf(40))
  let [inFlight, most] = [0, 0]
  const worker = start({
    slots: 10,
    async answer() {
      most = Math.max(most, ++inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      inFlight--
      return replyWith()
    },
  })
  await worker.runAll()
  expect(worker.calls).toHaveLength(40)
  expect(most).toBeLessThanOrEqual(9)
})

test('a batch with a concurrency never has more calls in flight', async () => {
  await submit(store, linesOf(40), { concurrency: 4 })
  let [inFlight, most] = [0, 0]
  const worker = start({
    async answer() {
      most = Math.max(most, ++inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      inFlight--
      return replyWith()
    },
  })
  await worker.runAll()
  expect(worker.calls).toHaveLength(40)
  expect(most).toBe(4)
})

test('a line that fails is told in the error file with the provider’s words; the others go on', async () => {
  const id = await submit(store, linesOf(3))
  const worker = start({ answer: (call) => (lineOf(call) === 1 ? refusedKey() : replyWith()) })
  await worker.runAll()
  const outcomes = await readOutcomes(store, worker, id)
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['completed', 'failed', 'completed'])
  expect(outcomes[1]?.told.response).toMatchObject({
    status_code: 401,
    body: { error: { message: 'Incorrect API key provided.', code: 'invalid_provider_key' } },
  })
  expect(await view(id)).toMatchObject({ status: 'completed', completed: 2, failed: 1 })
})

test('a line whose credentials were erased, or whose plan does not resolve, fails alone', async () => {
  const lines = [
    inputLine(0),
    inputLine(1, { api_key: undefined, user_config: { model_list: 7 } }),
    inputLine(2),
  ]
  const batch = await submit(store, lines)
  // As if it had been valid when it was looked at.
  await store.ends.begin(await store.claim(store.take(batch, 'v')), { lines: 3, model: null })
  await store.redis.setrange(store.keys.batchKeys(batch), 64, Buffer.alloc(32))
  const worker = start()
  await worker.runAll()
  const outcomes = await readOutcomes(store, worker, batch)
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['completed', 'failed', 'failed'])
  expect(outcomes[1]?.told.response).toMatchObject({ status_code: 400 })
  expect(outcomes[2]?.told.response?.body).toMatchObject({ error: { code: 'credentials_required' } })
  expect(worker.calls).toHaveLength(1)
})

test('lines whose batch’s credentials do not open fail, and the batch ends all the same', async () => {
  const lines = [0, 1].map((number) => inputLine(number, { api_key: undefined }))
  const id = await submit(store, lines, { defaults: { api_key: 'sk-of-the-batch' } })
  const worker = start()
  await worker.begin(id)
  await store.redis.hset(store.keys.batch(id), 'cred', Buffer.from('not what was sealed'))
  const chunks = store.queued.splice(0)
  await Promise.all(chunks.map((chunk) => worker.run(chunk)))
  await worker.runAll()
  expect(worker.calls).toHaveLength(0)
  expect(await view(id)).toMatchObject({ status: 'completed', failed: 2 })
  expect(await readOutcomes(store, worker, id)).toMatchObject([
    { told: { response: { status_code: 500 } } },
    { told: { response: { status_code: 500 } } },
  ])
})

test('a line that is told to wait frees its slot and goes on when due, with what it had tried', async () => {
  const id = await submit(store, linesOf(2))
  let isLimited = true
  const worker = start({
    answer: (call) => (isLimited && lineOf(call) === 0 ? rateLimited(1_200) : replyWith()),
  })
  await worker.runAll()
  expect(await view(id)).toMatchObject({ status: 'in_progress', completed: 1, parked: 1, inProgress: 0 })
  const states = await store.batches.lineStates('acme', id)
  expect(states.get(0)).toMatchObject({ attemptsMade: 1, queueState: 'rate_limited' })
  isLimited = false
  await eventually('it is due', () => store.window.wake())
  await worker.runAll()
  const outcomes = await readOutcomes(store, worker, id)
  expect(outcomes[0]?.meta.attempts.map(({ outcome }) => outcome)).toEqual(['failed', 'completed'])
  expect(await view(id)).toMatchObject({ status: 'completed', completed: 2 })
})

test('the place at a deployment that takes one call at a time is handed from line to line', async () => {
  const one = { model: 'gpt-4o-mini', api_key: 'sk-one', max_parallel_requests: 1 }
  const user_config = { model_list: [{ model_name: 'gpt-4o-mini', litellm_params: one }] }
  const id = await submit(store, linesOf(8, { api_key: undefined }), { defaults: { user_config } })
  let [inFlight, most] = [0, 0]
  const worker = start({
    async answer() {
      most = Math.max(most, ++inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      inFlight--
      return replyWith()
    },
  })
  await eventually('all are done', async () => {
    await store.window.wake()
    await worker.runAll()
    return (await view(id)).status === 'completed'
  })
  expect(worker.calls).toHaveLength(8)
  expect(most).toBe(1)
})

test('a response of a batch goes by the id of its line', async () => {
  const line = inputLine(0, { messages: undefined, input: 'question 0' })
  const id = await submit(store, [{ ...line, url: '/v1/responses' }], { endpoint: '/v1/responses' })
  const worker = start({ answer: () => replyWith({ id: 'resp_theirs', object: 'response' }) })
  await worker.runAll()
  const [outcome] = await readOutcomes(store, worker, id)
  const own = id.replace(/^batch_/, 'resp_')
  expect(outcome?.told.response?.body).toEqual({ id: `${own}_0`, object: 'response' })
})

test('a cancelled batch starts nothing new, keeps what its calls bring, and tells of the rest', async () => {
  const id = await submit(store, linesOf(60))
  const held = gate()
  const worker = start({
    slots: 10,
    async answer() {
      await held.opened
      return replyWith()
    },
  })
  const fed = await worker.begin(id)
  store.queued.length = 0
  const running = Promise.all(fed.map((chunk) => worker.run(chunk)))
  await eventually('calls are in flight', () => worker.calls.length === 9)
  await store.batches.cancel('acme', id)
  worker.stop(id)
  held.open()
  await running
  await worker.runAll()
  expect(worker.calls).toHaveLength(9)
  expect(await view(id)).toMatchObject({ status: 'cancelled', completed: 9, cancelled: 51 })
  const outcomes = await readOutcomes(store, worker, id)
  expect(outcomes.at(-1)?.told).toMatchObject({ response: null, error: { code: 'batch_cancelled' } })
})

test('a line that waits for its turn when its batch is cancelled was never called, and is not said to be', async () => {
  const one = { model: 'gpt-4o-mini', api_key: 'sk-one', max_parallel_requests: 1 }
  const user_config = { model_list: [{ model_name: 'gpt-4o-mini', litellm_params: one }] }
  const id = await submit(store, linesOf(2, { api_key: undefined }), { defaults: { user_config } })
  const worker = start({ cancelMs: 0, answer: untilStopped })
  const [chunk] = await worker.begin(id)
  store.queued.length = 0
  const running = chunk && worker.run(chunk)
  await eventually('both began', async () => (await store.batches.lineStates('acme', id)).size === 2)
  await eventually('one is called', () => worker.calls.length === 1)
  await store.batches.cancel('acme', id)
  worker.stop(id)
  await running
  await worker.runAll()
  expect(worker.calls).toHaveLength(1)
  const outcomes = await readOutcomes(store, worker, id)
  expect(outcomes.map(({ meta }) => meta.attempts.length).toSorted((a, b) => a - b)).toEqual([0, 1])
})

test('calls of a cancelled batch that do not end in time are given up and marked', async () => {
  const id = await submit(store, linesOf(2))
  const worker = start({ cancelMs: 50, answer: untilStopped })
  const [chunk] = await worker.begin(id)
  store.queued.length = 0
  const running = chunk && worker.run(chunk)
  await eventually('calls are in flight', () => worker.calls.length === 2)
  await store.batches.cancel('acme', id)
  worker.stop(id)
  await running
  await worker.runAll()
  const [outcome] = await readOutcomes(store, worker, id)
  expect(outcome).toMatchObject({ outcome: 'cancelled', told: { error: { code: 'batch_cancelled' } } })
  expect(outcome?.meta.attempts).toMatchObject([{ outcome: 'aborted', possibly_billed: true }])
})

test('at its deadline the calls of a batch are given up, and all that is left has expired', async () => {
  const id = await submit(store, linesOf(2), { windowMs: 4_000 })
  const worker = start({ answer: (call) => (lineOf(call) === 0 ? replyWith() : untilStopped(call)) })
  await worker.runAll()
  expect(await view(id)).toMatchObject({ status: 'expired', completed: 1, expired: 1 })
  const outcomes = await readOutcomes(store, worker, id)
  expect(outcomes[1]).toMatchObject({ outcome: 'expired', told: { error: { code: 'batch_expired' } } })
})

test('a process that comes back to a batch again and again takes one number for its logs, and never a name twice', async () => {
  const id = await store.begin(3, { concurrency: 1 })
  const results = createResultLogs({ store: store.fileStore, sealer: store.sealer })
  const places = createBatchPlaces({
    results,
    files: { read: async () => null },
    workerId: 'w',
    log: createLog('silent', 'test'),
  })
  const entries: OrderEntry[] = []
  const logs = new Set<number>()
  for (let line = 0; line < 3; line++) {
    const [fed] = await store.feed()
    const place = places.enter(id)
    const result =
      fed && (await store.claims.claim(fed, { workerId: place.writer, positions: place.positions() }))
    if (result?.kind !== 'claimed') throw new Error(result?.kind)
    const { claim } = result
    logs.add(claim.log)
    const entry = await place.results(claim).append(lineResult(line))
    entries.push(entry)
    await store.claims.settle(claim, { by: 'complete', entry, model: null, usage: null, cost: null })
    await store.claims.leave(
      claim,
      claim.lines.filter((one) => one !== line),
    )
    place.leave()
    // As after a while without a chunk of it.
    await places.close()
  }
  expect(logs.size).toBe(1)
  const read: number[] = []
  for await (const { line } of results.read({ tenant: 'acme', id }, entries)) read.push(line)
  expect(read).toEqual([0, 1, 2])
})

test('places that lines of a cancelled batch had kept at a limit are given back: others need not wait behind them', async () => {
  const one = { model: 'gpt-4o-mini', api_key: 'sk-one', rpm: 2 }
  const user_config = { model_list: [{ model_name: 'gpt-4o-mini', litellm_params: one }] }
  const submitLines = (count: number) =>
    submit(store, linesOf(count, { api_key: undefined }), { defaults: { user_config }, windowMs: 86_400_000 })
  const worker = start()
  const cancelled = await submitLines(40)
  await worker.runAll()
  expect(await view(cancelled)).toMatchObject({ completed: 2, parked: 38 })
  await store.batches.cancel('acme', cancelled)
  await worker.runAll()
  expect(await view(cancelled)).toMatchObject({ status: 'cancelled', cancelled: 38 })
  const next = await submitLines(1)
  await worker.runAll()
  const dueMs = Number(await store.redis.zscore(store.keys.batchParked(next), '0'))
  expect(dueMs - Date.now()).toBeGreaterThan(1_000)
  // As long as the two calls that were made count, and no longer.
  expect(dueMs - Date.now()).toBeLessThan(65_000)
})
