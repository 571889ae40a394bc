import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import type { ChunkClaim } from '../../shared/batches/batch-claims.ts'
import { lineEnd, NO_STATE, testBatchStore, type TestBatchStore } from '../support/batch-store.ts'

type Step = {
  act:
    | 'start'
    | 'leave'
    | 'feed'
    | 'claim'
    | 'complete'
    | 'fail'
    | 'park'
    | 'kill'
    | 'stale'
    | 'twice'
    | 'cancel'
  pick: number
}

const step: fc.Arbitrary<Step> = fc.record({
  act: fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom('feed' as const, 'claim' as const, 'start' as const) },
    { weight: 8, arbitrary: fc.constantFrom('complete' as const, 'fail' as const, 'park' as const) },
    { weight: 3, arbitrary: fc.constantFrom('kill' as const, 'stale' as const, 'twice' as const) },
    { weight: 2, arbitrary: fc.constant('leave' as const) },
    { weight: 1, arbitrary: fc.constant('cancel' as const) },
  ),
  pick: fc.nat(1_000),
})

/** A worker's view: the chunks that it holds, with the lines it has not ended; and claims that were taken from it. */
type Hands = { held: { claim: ChunkClaim; open: number[] }[]; lost: ChunkClaim[] }

async function take(store: TestBatchStore, hands: Hands): Promise<void> {
  const fed = store.queued.find(({ chunk }) => chunk !== 'f')
  if (!fed) return
  store.queued.splice(store.queued.indexOf(fed), 1)
  const result = await store.claims.claim(fed, { workerId: 'w1', positions: { output: 0, error: 0 } })
  if (result.kind === 'claimed') hands.held.push({ claim: result.claim, open: [...result.claim.lines] })
}

async function kill(store: TestBatchStore, hands: Hands, pick: number): Promise<void> {
  const [one] = hands.held.splice(pick % hands.held.length, 1)
  if (!one) return
  hands.lost.push(one.claim)
  await store.redis.zadd(store.keys.batchWindow, 'XX', '0', one.claim.id)
  const lost = (await store.window.overdue()).find(({ chunk }) => chunk === one.claim.chunk)
  const again = lost && (await store.window.refeed(lost))
  if (again) store.queued.push(again)
}

async function act(
  store: TestBatchStore,
  hands: Hands,
  id: string,
  { act: name, pick }: Step,
): Promise<void> {
  if (name === 'cancel') return void (await store.batches.cancel('acme', id))
  if (name === 'claim') return take(store, hands)
  if (name === 'feed') {
    await store.window.wake()
    return void (await store.feed())
  }
  if (name === 'stale') {
    const lost = hands.lost[pick % hands.lost.length]
    const line = lost?.lines[pick % lost.lines.length]
    if (lost && line !== undefined) await store.claims.settle(lost, lineEnd(line))
    return
  }
  if (name === 'kill') return kill(store, hands, pick)
  const one = hands.held[pick % hands.held.length]
  if (one && name === 'start') {
    const open = one.open[pick % one.open.length]
    if (open !== undefined) await store.claims.start(one.claim, open, NO_STATE, pick)
    return
  }
  if (one && name === 'leave') {
    await store.claims.leave(one.claim, one.open)
    hands.held.splice(hands.held.indexOf(one), 1)
    return
  }
  const line = one?.open.splice(pick % one.open.length, 1)[0]
  if (!one || line === undefined) return
  await endLine(store, one.claim, line, name)
  if (one.open.length === 0) hands.held.splice(hands.held.indexOf(one), 1)
}

async function endLine(
  store: TestBatchStore,
  claim: ChunkClaim,
  line: number,
  name: Step['act'],
): Promise<void> {
  if (name === 'park') {
    const said = await store.claims.park(claim, line, line % 2 === 0 ? 0 : 3_600_000, NO_STATE)
    if (said === 'cancelling') await store.claims.settle(claim, lineEnd(line, 'cancelled'))
    return
  }
  const end = lineEnd(line, name === 'fail' ? 'failed' : 'completed')
  const times = name === 'twice' ? 2 : 1
  await Promise.all(Array.from({ length: times }, () => store.claims.settle(claim, end)))
}

/** What is held in the accounts, of the batch and of its lines is the same. */
async function checkHeld(store: TestBatchStore, id: string): Promise<void> {
  const { redis, keys, ids } = store
  const lines = Object.entries(await redis.hgetall(keys.batchLines(id)))
  const held = lines.reduce((sum, [name, value]) => sum + (/^h\d/.test(name) ? Number(value) : 0), 0)
  expect(Number(await redis.hget(keys.batch(id), 'held'))).toBe(held)
  const accounts = [keys.account('acme'), keys.customerAccount('acme', ids.ownerId('acme', 'cust'))]
  for (const key of accounts) expect(parseAccount(await redis.get(key)).held).toBe(held)
}

/** Lets everything come to its end, as workers and sweeper would. */
async function drain(store: TestBatchStore, hands: Hands, id: string): Promise<void> {
  for (let round = 0; round < 500 && !store.queued.some(({ chunk }) => chunk === 'f'); round++) {
    for (const { claim, open } of hands.held.splice(0)) {
      for (const line of open) await store.claims.settle(claim, lineEnd(line))
    }
    const parked = await store.redis.zrange(store.keys.batchParked(id), '0', '-1')
    if (parked.length > 0)
      await store.window.wakeLines(parked.map((line) => `batch_req_${id.slice(6)}_${line}`))
    await store.window.wake()
    await store.feed()
    await take(store, hands)
  }
}

test('whatever happens to a batch, each of its lines ends once, all counts add up, and nothing stays behind', async () => {
  const run = fc.asyncProperty(
    fc.array(step, { maxLength: 120 }),
    fc.integer({ min: 1, max: 60 }),
    fc.option(fc.integer({ min: 1, max: 12 })),
    fc.constantFrom(4, 40, 400),
    async (steps, lines, concurrency, slots) => {
      const store = await testBatchStore()
      try {
        await store.beat('w1', slots, 10_000)
        const id = await store.begin(lines, { concurrency, customer: 'cust' })
        const hands: Hands = { held: [], lost: [] }
        for (const one of steps) {
          await act(store, hands, id, one)
          await checkHeld(store, id)
          const inFlight = Number(await store.redis.hget(store.keys.batch(id), 'inflight'))
          expect(inFlight).toBeLessThanOrEqual(concurrency ?? slots)
        }
        await drain(store, hands, id)
        expect(store.queued.filter(({ chunk }) => chunk === 'f')).toHaveLength(1)
        const finish = await store.claim(store.take(id, 'f'))
        for (const line of await store.claims.unsettled(finish)) {
          expect(finish.ending).toBe('cancelled')
          await store.claims.settle(finish, lineEnd(line, 'cancelled'))
        }
        const ended = (await store.claims.entries(finish)).map(({ line }) => line)
        expect(ended.toSorted((a, b) => a - b)).toEqual(Array.from({ length: lines }, (_, line) => line))
        expect(await store.ends.finish(finish, { output: 1, error: 0 })).toBe('ended')
        const account = parseAccount(await store.redis.get(store.keys.account('acme')))
        expect(account).toMatchObject({ held: 0, spent: lines })
        expect(await store.redis.llen(store.keys.usageNews)).toBe(lines)
        const view = await store.batches.read('acme', id)
        expect(view && view.completed + view.failed + view.cancelled).toBe(lines)
        const { batchBusy, batchWindow, batchTenants, batchParkedDue } = store.keys
        const busy = await store.redis.hgetall(batchBusy)
        expect(Object.values(busy).filter((count) => count !== '0')).toEqual([])
        expect(await store.redis.exists(batchWindow, batchTenants, batchParkedDue)).toBe(0)
        expect(await store.redis.keys(`${store.prefix}:{s0}:batch-*${id}*`)).toEqual([])
      } finally {
        await store.cleanup()
      }
    },
  )
  await fc.assert(run, { numRuns: Number(process.env['TEST_PROPERTY_RUNS'] ?? 25) })
}, 600_000)
