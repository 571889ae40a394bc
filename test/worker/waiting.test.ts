import { afterEach, beforeEach, expect, test } from 'vitest'
import { createJobRecords } from '../../worker/record-of-job.ts'
import { openRun, type Run } from '../../worker/run.ts'
import { createWaiting } from '../../worker/waiting.ts'
import { testDeployment, testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

const hold = { signal: new AbortController().signal, reason: () => null, leave: () => {} }

async function claimedRun(): Promise<Run> {
  await store.jobs.create(store.jobInput())
  const [fed] = store.queued
  const got = fed && (await store.claims.claim(fed))
  if (got?.kind !== 'claimed') throw new Error('the job was not claimed')
  const records = createJobRecords({ ...store, afterSettle: () => {}, afterSnooze: () => {} })
  return openRun(got.claim, records.open(got.claim, hold), Date.now()).run
}

test('a job that waits a moment at a full deployment goes on when it is handed a place, also the second time', async () => {
  const run = await claimedRun()
  const { state } = store
  const waiting = createWaiting(state)
  const wait = {
    kind: 'wait' as const,
    deployment: testDeployment('one'),
    why: 'busy' as const,
    isNext: true,
    now: 1_000,
    at: 1_999,
  }
  // Its whole time is a second: that a machine stands still now and then makes not all of them late.
  const tookMs: number[] = []
  for (let count = 0; count < 6; count++) {
    const startedAt = performance.now()
    const waited = waiting.waitFor(run, hold, wait)
    state.wake(run.claim.id)
    expect(await waited).toBeNull()
    tookMs.push(performance.now() - startedAt)
  }
  expect(Math.min(...tookMs)).toBeLessThan(500)
  expect(run.hasWaitedTurn).toBe(true)
})
