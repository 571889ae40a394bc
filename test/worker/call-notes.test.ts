import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Claim } from '../../shared/jobs/claims.ts'
import { openAttempt } from '../../worker/attempt.ts'
import { createCallNotes, noteWait } from '../../worker/call-notes.ts'
import { createJobRecords } from '../../worker/record-of-job.ts'
import { openRun, restingProgress } from '../../worker/run.ts'
import { testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(() => {
  store = testStore()
})
afterEach(() => store.cleanup())

const hold = { signal: new AbortController().signal, reason: () => null, leave: () => {} }

async function claimJob(): Promise<Claim> {
  await store.jobs.create(store.jobInput())
  const [fed] = store.queued
  const got = fed && (await store.claims.claim(fed))
  if (got?.kind !== 'claimed') throw new Error('the job was not claimed')
  return got.claim
}

function open(claim: Claim) {
  const records = createJobRecords({ ...store, afterSettle: () => {}, afterSnooze: () => {} })
  return openRun(claim, records.open(claim, hold), Date.now()).run
}

/** A log, and what was written to it. */
function keptLog() {
  const lines: Record<string, unknown>[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  return { log, lines }
}

test('a call whose worker died is told of once, by whoever takes its job up, as lost and perhaps on the bill', async () => {
  const claim = await claimJob()
  const [deployment] = claim.plan.deployments
  if (!deployment) throw new Error('the plan has no deployment')
  const [first, second] = [1, 2].map((number) =>
    openAttempt(number, deployment, claim.plan, Date.now() - 500),
  )
  if (!first || !second) throw new Error('no attempts')
  // The first was told of by an earlier worker.
  claim.attempts = [{ ...first, outcome: 'lost', ended_at: Date.now() }, second]
  const { log, lines } = keptLog()
  const run = open(claim)
  createCallNotes(log).noteLost(run)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatchObject({
    msg: 'A provider was called',
    job_id: claim.id,
    attempt: 2,
    deployment_id: deployment.id,
    outcome: 'lost',
    possibly_billed: true,
  })
  expect(lines[0]?.['ms']).toBeGreaterThanOrEqual(500)
})

test('why a job was put back is told with the call that it makes after that', async () => {
  const claim = await claimJob()
  const run = open(claim)
  noteWait(run, 'limit', 30_000)
  const again = open({ ...claim, progress: restingProgress(run) })
  expect(again.waited).toEqual({ why: 'limit', ms: 30_000 })

  const [deployment] = claim.plan.deployments
  if (!deployment) throw new Error('the plan has no deployment')
  const { log, lines } = keptLog()
  const { note } = createCallNotes(log)
  note(again, deployment, openAttempt(1, deployment, claim.plan, Date.now()), null)
  note(again, deployment, openAttempt(2, deployment, claim.plan, Date.now()), null)
  expect(lines.map(({ waited, waited_ms: waitedMs }) => [waited, waitedMs])).toEqual([
    ['limit', 30_000],
    [undefined, undefined],
  ])
})

test('with the log at warn a call is told to nobody', async () => {
  const claim = await claimJob()
  const run = open(claim)
  const [deployment] = claim.plan.deployments
  if (!deployment) throw new Error('the plan has no deployment')
  const { log, lines } = keptLog()
  log.level = 'warn'
  createCallNotes(log).note(run, deployment, openAttempt(1, deployment, claim.plan, Date.now()), null)
  expect(lines).toEqual([])
})
