import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSettledListener, waitForEnd, type SettledListener } from '../../shared/jobs/settled.ts'
import { testStore, type TestStore } from '../support/store.ts'

const WAITERS = 50

let store: TestStore
let settled: SettledListener
beforeEach(() => {
  store = testStore()
  // It subscribes to nothing: every message is lost.
  settled = createSettledListener(store.redis, store.keys)
})
afterEach(async () => {
  settled.close()
  await store.cleanup()
})

async function createDelayed(): Promise<string> {
  const input = store.jobInput({ delayMs: 60_000 })
  await store.jobs.create(input)
  return input.id
}

function waitFor(id: string, waitMs: number, counts: { reads: number }) {
  const watch = settled.watch(id)
  const read = () => {
    counts.reads += 1
    return store.jobs.read('acme', id)
  }
  return waitForEnd({ watch, read, waitMs }).finally(() => watch.close())
}

test('whoever waits hears of an end that no message told of, nobody reads again before it, and no listener is left', async () => {
  settled.lookAfter(store.redis)
  const ids = await Promise.all(Array.from({ length: 5 }, createDelayed))
  const counts = { reads: 0 }
  const waits = ids.flatMap((id) => Array.from({ length: WAITERS / 5 }, () => waitFor(id, 30_000, counts)))
  expect(settled.size()).toBe(5)
  for (const id of ids) await store.jobs.cancel('acme', id)
  const views = await Promise.all(waits)
  expect(views.map((view) => view?.job.status)).toEqual(views.map(() => 'cancelled'))
  expect(counts.reads).toBeLessThanOrEqual(2 * WAITERS)
  expect(settled.size()).toBe(0)
})

test('so does who waits where nobody looks for all', async () => {
  const id = await createDelayed()
  const wait = waitFor(id, 30_000, { reads: 0 })
  await store.jobs.cancel('acme', id)
  expect((await wait)?.job.status).toBe('cancelled')
})

test('a wait that ends first gives what was read last, and one for what is gone ends at once', async () => {
  settled.lookAfter(store.redis)
  expect((await waitFor(await createDelayed(), 50, { reads: 0 }))?.job.status).toBe('queued')
  expect(await waitFor('job_of_nobody', 30_000, { reads: 0 })).toBeNull()
})
