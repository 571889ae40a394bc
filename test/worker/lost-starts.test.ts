import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { createLog } from '../../shared/log.ts'
import { createJobRecords } from '../../worker/record-of-job.ts'
import { openRun } from '../../worker/run.ts'
import { createStarting } from '../../worker/starting.ts'
import { eventually } from '../support/eventually.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

// Found by `npm run chaos -- --short --only mid-submit --seed 2`: its worker held the place for as long as it lived.
test('a call that was let through while its note was lost with Redis, and whose job was given up then, leaves its place', async () => {
  const one = testDeployment('one', { max_parallel: 5 })
  const plan = testPlan([one])
  let isLost = false
  const hold = {
    signal: new AbortController().signal,
    reason: () => (isLost ? ('lost' as const) : null),
    leave: () => {},
  }
  const state = store.makeState({})
  // Leases of calls that this process makes are kept: only what is given back is free.
  state.start()
  onTestFinished(() => state.close())
  const inFlight = async () => (await state.read('owner', [one]))[0]?.inFlight
  const start: typeof store.claims.start = async () => {
    await eventually('it is let through', async () => (await inFlight()) === 1)
    isLost = true
    throw Object.assign(new Error('Connection is closed.'), { code: 'ECONNRESET' })
  }
  await store.jobs.create(store.jobInput({ plan }))
  const fed = store.queued.at(-1)
  const got = fed && (await store.claims.claim(fed))
  if (got?.kind !== 'claimed') throw new Error('the job was not claimed')
  const claims = { ...store.claims, start }
  const records = createJobRecords({ ...store, claims, afterSettle: () => {}, afterSnooze: () => {} })
  const { run } = openRun(got.claim, records.open(got.claim, hold), Date.now())
  const starting = createStarting({ state, log: createLog('silent', 'test') })
  await expect(starting.start(run, hold, [{ deployment: one, tier: 0 }])).rejects.toThrow('did not come back')
  await eventually('nobody holds a place', async () => (await inFlight()) === 0)
})
