import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FedChunk } from '../../shared/batches/batch-queue.ts'
import { lineEnd, NO_STATE, testBatchStore, type TestBatchStore } from '../support/batch-store.ts'

let store: TestBatchStore
beforeEach(async () => {
  store = await testBatchStore()
  await store.beat('w1', 500, 10_000)
})
afterEach(() => store.cleanup())

const file = (id: string) => store.redis.hgetall(store.keys.file(id))

test('a batch is validated, runs, and ends with the counts, usage and files of its lines', async () => {
  const id = await store.begin(3, { metadata: { run: '7' } })
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'in_progress',
    total: 3,
    metadata: { run: '7' },
  })
  await store.feed()
  const claim = await store.claim()
  await Promise.all([
    store.claims.settle(claim, lineEnd(2)),
    store.claims.settle(claim, lineEnd(0, 'failed')),
    store.claims.settle(claim, lineEnd(1)),
  ])
  const finish = await store.claim()
  expect(await store.batches.read('acme', id)).toMatchObject({ status: 'finalizing', outputFileId: null })
  expect(finish.chunk).toBe('f')
  expect((await store.claims.entries(finish)).map(({ line }) => line)).toEqual([2, 0, 1])
  expect(await store.ends.finish(finish, { output: 20, error: 10 })).toBe('ended')
  const view = await store.batches.read('acme', id)
  expect(view).toMatchObject({
    status: 'completed',
    isTerminal: true,
    completed: 2,
    failed: 1,
    inProgress: 0,
  })
  expect(view?.usage).toEqual({ input: 9, cached: 3, output: 6, cost: 0.000_003 })
  expect(await file(view?.outputFileId ?? '')).toMatchObject({
    tenant: 'acme',
    bytes: '20',
    source: 'batch',
    part: 'output',
  })
  expect(await file(view?.errorFileId ?? '')).toMatchObject({ bytes: '10', part: 'error' })
})

test.each([
  [{}, 86_400, 86_400],
  [{ outputExpiresAfterS: 7_200 }, 86_400, 7_200],
  [{ keptAtMost: { batchS: 50, filesS: null } }, 50, 50],
  [{ keptAtMost: { batchS: 50, filesS: 20 } }, 50, 20],
  [{ keptAtMost: { batchS: null, filesS: 20 }, outputExpiresAfterS: 7_200 }, 86_400, 20],
  // Its files are told from its logs, so it never goes before them.
  [{ keptAtMost: { batchS: 50, filesS: null }, outputExpiresAfterS: 7_200 }, 7_200, 7_200],
])('an ended batch and its files are kept as its tenant has it: %j', async (change, recordS, filesS) => {
  const id = await store.begin(1, change)
  await store.feed()
  await store.claims.settle(await store.claim(), lineEnd(0))
  await store.ends.finish(await store.claim(), { output: 10, error: 0 })
  const view = await store.batches.read('acme', id)
  const endedMs = view?.endedMs ?? 0
  expect((view?.retainedUntilMs ?? 0) - endedMs).toBe(recordS * 1000)
  expect(Number((await file(view?.outputFileId ?? ''))['expires']) - endedMs).toBe(filesS * 1000)
})

test('a batch of which every line failed is completed and has no output file', async () => {
  const id = await store.begin(1)
  await store.feed()
  await store.claims.settle(await store.claim(), lineEnd(0, 'failed'))
  await store.ends.finish(await store.claim(), { output: 0, error: 10 })
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'completed',
    outputFileId: null,
    failed: 1,
  })
})

test('a line settles once, whoever says so how often: its place, its counts and its batch are not counted twice', async () => {
  const id = await store.begin(2)
  await store.feed()
  const claim = await store.claim()
  const words = [await store.claims.settle(claim, lineEnd(0)), await store.claims.settle(claim, lineEnd(0))]
  const both = await Promise.all([
    store.claims.settle(claim, lineEnd(1)),
    store.claims.settle(claim, lineEnd(1)),
  ])
  expect([...words, ...both]).toEqual(['settled', 'ended', 'settled', 'ended'])
  expect(await store.batches.read('acme', id)).toMatchObject({ completed: 2, inProgress: 0 })
  const finish = await store.claim(store.take(id, 'f'))
  expect(await store.claims.entries(finish)).toHaveLength(2)
  expect(await store.redis.hgetall(store.keys.batchBusy)).toEqual({ '*': '0' })
})

test('a batch ends whatever a provider says was used, and however it was priced', async () => {
  const id = await store.begin(40)
  await store.feed()
  const claim = await store.claim()
  const most = Number.MAX_SAFE_INTEGER
  const usage = { input_tokens: most, output_tokens: most, total_tokens: most, cached_input_tokens: most }
  await Promise.all(
    claim.lines.map((line) =>
      store.claims.settle(claim, { ...lineEnd(line), usage, cost: line % 2 ? Infinity : 1e300 }),
    ),
  )
  const finish = await store.claim(store.take(id, 'f'))
  expect(await store.ends.finish(finish, { output: 1, error: 0 })).toBe('ended')
  expect(await store.batches.read('acme', id)).toMatchObject({ status: 'completed', completed: 40 })
})

test('a claim that was replaced can bring in a whole answer, and nothing else', async () => {
  const id = await store.begin(3)
  const [fed] = await store.feed()
  const old = await store.claim()
  await store.claims.start(old, 0, { ...NO_STATE, attemptsMade: 1 })
  await store.redis.zadd(store.keys.batchWindow, '0', `${id} ${fed?.chunk}`)
  const again = fed && (await store.window.refeed(fed))
  const claim = await store.claim(again ?? undefined, 'w2')
  expect(claim.states.get(0)?.attemptsMade).toBe(1)
  expect(claim.predecessors).toEqual([{ log: 1, from: { output: 0, error: 0 } }])
  expect(claim.log).toBe(2)
  expect(await store.claims.start(old, 1, NO_STATE)).toBe('fenced')
  expect(await store.claims.settle(old, lineEnd(1, 'failed'))).toBe('fenced')
  expect(await store.claims.park(old, 1, 0, NO_STATE)).toBe('fenced')
  expect(await store.claims.settle(old, lineEnd(0))).toBe('settled')
  expect(await store.claims.settle(claim, lineEnd(0, 'completed', 2))).toBe('ended')
  await store.claims.settle(claim, lineEnd(1))
  await store.claims.settle(claim, lineEnd(2))
  expect(await store.batches.read('acme', id)).toMatchObject({
    completed: 3,
    inProgress: 0,
    status: 'finalizing',
  })
})

test('a line that a replaced claim brought in is neither started nor given out again', async () => {
  await store.begin(3)
  const [fed] = await store.feed()
  const old = await store.claim()
  await store.redis.zadd(store.keys.batchWindow, '0', old.id)
  const claim = await store.claim((fed && (await store.window.refeed(fed))) ?? undefined, 'w2')
  expect(await store.claims.settle(old, lineEnd(0))).toBe('settled')
  const words = [0, 1].map((line) => store.claims.start(claim, line, NO_STATE))
  expect(await Promise.all(words)).toEqual(['ended', 'started'])
  await store.claims.leave(claim, [0, 1, 2])
  await store.window.wake()
  await store.feed()
  expect((await store.claim()).lines).toEqual([1, 2])
})

test('a chunk that one process takes up again and again is told of each log once, from where it was claimed first', async () => {
  await store.begin(1)
  let fed: FedChunk | null | undefined = (await store.feed())[0]
  const seen: unknown[] = []
  for (let at = 0; fed && at < 4; at++) {
    const positions = { output: at, error: 10 * at }
    const result = await store.claims.claim(fed, { workerId: at === 2 ? 'w2' : 'w1', positions })
    if (result.kind !== 'claimed') throw new Error(result.kind)
    seen.push(result.claim.predecessors)
    await store.redis.zadd(store.keys.batchWindow, '0', result.claim.id)
    fed = await store.window.refeed(fed)
  }
  const first = { log: 1, from: { output: 0, error: 0 } }
  expect(seen).toEqual([[], [first], [first], [first, { log: 2, from: { output: 2, error: 20 } }]])
})

test("the key of a line's credentials is zeroed in the step that settles it, and all are gone with the batch", async () => {
  const lineKeys = Buffer.alloc(3 * 32, 7)
  const inputFileId = await store.makeFile('acme', lineKeys)
  const id = await store.begin(3, { inputFileId })
  expect(await store.redis.exists(store.keys.fileKeys(inputFileId))).toBe(0)
  await store.feed()
  const claim = await store.claim()
  await store.claims.settle(claim, lineEnd(1))
  const left = await (await store.claims.lineKeys(claim))?.(0, 3)
  expect(left?.equals(Buffer.concat([Buffer.alloc(32, 7), Buffer.alloc(32), Buffer.alloc(32, 7)]))).toBe(true)
  await store.claims.settle(claim, lineEnd(0))
  await store.claims.settle(claim, lineEnd(2))
  await store.ends.finish(await store.claim(), { output: 1, error: 0 })
  expect(await store.redis.exists(store.keys.batchKeys(id))).toBe(0)
})

test('a second batch over a file whose credentials another one took is refused', async () => {
  const inputFileId = await store.makeFile('acme', Buffer.alloc(32, 1))
  const early = await store.batches.create(store.newBatch({ inputFileId }))
  await store.ends.begin(await store.claim(), { lines: 1, model: null })
  expect(early.kind).toBe('created')
  expect(await store.batches.create(store.newBatch({ inputFileId }))).toEqual({ kind: 'credentials_erased' })
})

test('of two batches over one file with credentials that were made at once, one begins', async () => {
  const inputFileId = await store.makeFile('acme', Buffer.alloc(32, 1))
  await store.create({ inputFileId })
  await store.create({ inputFileId })
  const [first, second] = [await store.claim(), await store.claim()]
  expect(await store.ends.begin(first, { lines: 1, model: null })).toBe('begun')
  expect(await store.ends.begin(second, { lines: 1, model: null })).toBe('credentials_erased')
})

test('a file is in use until the last batch over it has ended', async () => {
  const inputFileId = await store.makeFile('acme')
  await store.create({ inputFileId })
  await store.create({ inputFileId })
  expect(await file(inputFileId)).toMatchObject({ uses: '2' })
  await store.ends.refuse(await store.claim(), [
    { code: 'empty_file', message: 'No lines.', param: null, line: null },
  ])
  expect(await file(inputFileId)).toMatchObject({ uses: '1' })
})

test("another tenant's file, one for another purpose, and none at all make no batch", async () => {
  const foreign = await store.makeFile('globex')
  const wrong = await store.makeFile('acme')
  await store.redis.hset(store.keys.file(wrong), 'purpose', 'user_data')
  const kinds = await Promise.all(
    [foreign, 'file-none', wrong].map(
      async (inputFileId) => (await store.batches.create(store.newBatch({ inputFileId }))).kind,
    ),
  )
  expect(kinds).toEqual(['no_file', 'no_file', 'wrong_purpose'])
  expect(await store.redis.keys(`${store.prefix}:{s0}:batch:*`)).toEqual([])
})

test('an idempotency key stands for one batch, and is refused with another body', async () => {
  const inputFileId = await store.makeFile('acme')
  const idempotency = { fingerprint: 'f1', bodyHash: 'h1' }
  const first = await store.batches.create(store.newBatch({ inputFileId, idempotency }))
  const second = await store.batches.create(store.newBatch({ inputFileId, idempotency }))
  expect(second).toEqual({ kind: 'replayed', id: 'id' in first ? first.id : '' })
  const other = { ...idempotency, bodyHash: 'h2' }
  expect(await store.batches.create(store.newBatch({ inputFileId, idempotency: other }))).toEqual({
    kind: 'mismatch',
  })
  expect(await file(inputFileId)).toMatchObject({ uses: '1' })
})

test('a cancelled batch starts nothing new; what is in flight counts, and then it is to be finished', async () => {
  const id = await store.begin(300)
  await store.feed()
  const claim = await store.claim()
  expect((await store.batches.cancel('acme', id))?.view.status).toBe('cancelling')
  expect(await store.claims.start(claim, 0, NO_STATE)).toBe('cancelling')
  expect(await store.claims.park(claim, 0, 5_000, NO_STATE)).toBe('cancelling')
  expect(await store.claims.renew([claim])).toEqual(new Map([[claim.id, 'cancelling']]))
  // The other chunks had not begun: they are let go by whoever takes them.
  const positions = { output: 0, error: 0 }
  for (const fed of store.queued.splice(0)) {
    expect((await store.claims.claim(fed, { workerId: 'w1', positions })).kind).toBe('gone')
  }
  expect(await store.feed()).toEqual([])
  await Promise.all(
    claim.lines.map((line) =>
      store.claims.settle(claim, lineEnd(line, line < 4 ? 'completed' : 'cancelled')),
    ),
  )
  const finish = await store.claim(store.take(id, 'f'))
  expect(await store.ends.finish(finish, { output: 1, error: 1 })).toBe('unsettled')
  const missing = await store.claims.unsettled(finish)
  expect(missing).toHaveLength(200)
  await Promise.all(missing.map((line) => store.claims.settle(finish, lineEnd(line, 'cancelled'))))
  expect(await store.ends.finish(finish, { output: 1, error: 1 })).toBe('ended')
  expect(await store.batches.read('acme', id)).toMatchObject({
    status: 'cancelled',
    completed: 4,
    cancelled: 296,
  })
  expect((await store.batches.cancel('acme', id))?.kind).toBe('ended')
})

test('a batch that nobody runs can be cancelled before it was validated', async () => {
  const id = await store.create()
  await store.batches.cancel('acme', id)
  await store.ends.begin(await store.claim(store.take(id, 'v')), { lines: 5, model: null })
  const finish = await store.claim(store.take(id, 'f'))
  expect(await store.claims.unsettled(finish)).toEqual([0, 1, 2, 3, 4])
})

test('more failures than max_errors end a batch as failed, with what was done', async () => {
  const id = await store.begin(300, { maxErrors: 2 })
  await store.feed()
  const claim = await store.claim()
  await Promise.all([0, 1].map((line) => store.claims.settle(claim, lineEnd(line, 'failed'))))
  expect(await store.claims.start(claim, 2, NO_STATE)).toBe('started')
  await store.claims.settle(claim, lineEnd(2, 'failed'))
  expect(await store.claims.start(claim, 3, NO_STATE)).toBe('cancelling')
  expect(await store.batches.read('acme', id)).toMatchObject({
    ending: 'max_errors',
    errors: [{ code: 'max_errors_exceeded', param: 'max_errors' }],
  })
})

test('a tenant sees, lists and cancels only its own batches', async () => {
  const id = await store.create({ tenant: 'acme' })
  expect(await store.batches.read('globex', id)).toBeNull()
  expect(await store.batches.cancel('globex', id)).toBeNull()
  expect(await store.batches.list('globex', { limit: 5 })).toEqual({ batches: [], hasMore: false })
  expect(await store.batches.list('globex', { limit: 5, after: id })).toBeNull()
})

test('a list goes through all batches, newest first, page by page', async () => {
  const ids = [await store.create(), await store.create(), await store.create()]
  const first = await store.batches.list('acme', { limit: 2 })
  expect(first?.batches.map(({ id }) => id)).toEqual([ids[2], ids[1]])
  expect(first?.hasMore).toBe(true)
  const second = await store.batches.list('acme', { limit: 2, after: ids[1] })
  expect(second?.batches.map(({ id }) => id)).toEqual([ids[0]])
  expect(second?.hasMore).toBe(false)
})

test('nothing of a batch that is secret can be read in Redis, and its credentials are gone at its end', async () => {
  const id = await store.create({
    defaults: { api_key: 'sk-secret-of-a-batch' },
    webhook: { url: 'https://x.test/hook-secret' },
  })
  const record = await store.redis.hgetallBuffer(store.keys.batch(id))
  expect(Object.values(record).join('\n')).not.toMatch(/sk-secret|hook-secret/)
  const claim = await store.claim()
  expect(claim.defaults).toEqual({ api_key: 'sk-secret-of-a-batch' })
  await store.ends.refuse(claim, [{ code: 'empty_file', message: 'No lines.', param: null, line: null }])
  expect(await store.redis.hexists(store.keys.batch(id), 'cred')).toBe(0)
})
