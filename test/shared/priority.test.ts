import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lineEnd, testBatchStore, type TestBatchStore } from '../support/batch-store.ts'
import { testStore, type TestStore } from '../support/store.ts'

type Priority = 'high' | 'normal' | 'low'
const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']
const CYCLE = 13

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

const submit = async (priority: Priority, tenant = 'acme') => {
  const { id } = store.jobInput({ tenant })
  await store.jobs.create(store.jobInput({ id, tenant, priority }))
  return id
}

/** An owner's line: its first job goes straight to work, and there is room for one more at each turn. */
async function openLine(tenant: string) {
  await submit('normal', tenant)
  const waiting = new Map<string, Priority>()
  return {
    waiting,
    async join(priority: Priority) {
      const before = store.queued.length
      const id = await submit(priority, tenant)
      if (store.queued.length === before) waiting.set(id, priority)
    },
    async next(): Promise<Priority | null> {
      await store.redis.set(store.keys.slots, 1_000_000)
      const [fed] = await store.window.feed(1)
      await store.redis.del(store.keys.slots)
      const priority = fed ? (waiting.get(fed.id) ?? null) : null
      if (fed) waiting.delete(fed.id)
      return priority
    },
  }
}

test('whoever comes and goes, no priority waits for more than a round of turns, and a round with all three is 8, 4 and 1', async () => {
  const arrivals = fc.array(
    fc.constantFrom<(Priority | 'turn')[]>('turn', 'turn', 'high', 'high', 'normal', 'low'),
    {
      minLength: 40,
      maxLength: 80,
    },
  )
  let number = 0
  let rounds = 0
  const property = fc.asyncProperty(arrivals, async (steps) => {
    // Nobody of an earlier run is in line.
    await store.redis.set(store.keys.slots, 1_000_000)
    while ((await store.window.feed()).length > 0);
    await store.redis.del(store.keys.slots)
    const line = await openLine(`tenant-${(number += 1)}`)
    for (const priority of PRIORITIES) for (let count = 0; count < 3; count += 1) await line.join(priority)
    const sinceServed = new Map<Priority, number>(PRIORITIES.map((priority) => [priority, 0]))
    /** Turns in a row before which jobs of all three waited. */
    let full: Priority[] = []
    for (const step of steps) {
      if (step !== 'turn') {
        await line.join(step)
        continue
      }
      const present = new Set(line.waiting.values())
      const served = await line.next()
      for (const priority of PRIORITIES) {
        const isServed = served === priority || !present.has(priority)
        sinceServed.set(priority, isServed ? 0 : (sinceServed.get(priority) ?? 0) + 1)
        expect(sinceServed.get(priority)).toBeLessThan(CYCLE)
      }
      full = served && present.size === 3 ? [...full, served].slice(-CYCLE) : []
      if (full.length < CYCLE) continue
      rounds += 1
      expect(PRIORITIES.map((one) => full.filter((priority) => priority === one).length)).toEqual([8, 4, 1])
    }
  })
  await fc.assert(property, { numRuns: 6, seed: 7 })
  expect(rounds).toBeGreaterThan(10)
})

test('a job that waited for a limit comes back with the priority it had', async () => {
  const first = [await submit('low')]
  const back = async (id: string | undefined) => {
    const fed = store.queued.find((job) => job.id === id)
    const result = fed && (await store.claims.claim(fed))
    if (result?.kind !== 'claimed') throw new Error('not claimed')
    await store.claims.snooze(result.claim, 0, 'rate_limited', [])
  }
  for (let count = 0; count < 16; count += 1) await submit('normal')
  await back(first[0])
  await store.window.wake()
  await store.redis.set(store.keys.slots, 1_000)
  const order = (await store.window.feed(17)).map(({ id }) => id)
  // Its turn comes once in a round, though it is older than all the others.
  expect(order.indexOf(first[0] ?? '')).toBeGreaterThan(4)
  expect(order.indexOf(first[0] ?? '')).toBeLessThan(CYCLE)
})

test('batches of one owner get their shares too, and one of low priority goes on', async () => {
  const batches: TestBatchStore = await testBatchStore()
  await batches.beat('w1', 16, 10_000)
  const ids = new Map<string, Priority>()
  for (const priority of PRIORITIES) ids.set(await batches.begin(400, { priority }), priority)
  const turns: Priority[] = []
  while (turns.length < 2 * CYCLE) {
    await batches.feed()
    const claim = await batches.claim()
    turns.push(ids.get(claim.batchId) ?? 'low')
    await Promise.all(claim.lines.map((line) => batches.claims.settle(claim, lineEnd(line))))
  }
  const shares = PRIORITIES.map((one) => turns.filter((priority) => priority === one).length)
  await batches.cleanup()
  expect(shares).toEqual([16, 8, 2])
})
