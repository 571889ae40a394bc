import { setTimeout as delay } from 'node:timers/promises'
import type { DeploymentState, Reservation } from '../shared/routing/deployment-state.ts'
import type { QueueState } from '../shared/schemas/job.ts'
import { noteWait } from './call-notes.ts'
import { letGo } from './ending.ts'
import { groupFits } from './fit.ts'
import { persistUnlessStopped } from './persist.ts'
import { nextGroup } from '../shared/routing/router.ts'
import { progressAfterWait, type Run } from './run.ts'
import type { RunOutcome } from './run-record.ts'
import type { Hold } from './running.ts'

// A longer wait gives the slot back.
const WAIT_IN_PLACE_MS_MAX = 1_000

type WaitReservation = Extract<Reservation, { kind: 'wait' }>

/** Waiting instead of failing: in place when short, else put back (snoozed) until a deployment is free. */
export function createWaiting(state: DeploymentState) {
  /** Nothing in this group is free: another group may be, else the job waits for the first to come free. */
  async function waitFor(run: Run, hold: Hold, wait: WaitReservation): Promise<RunOutcome | null> {
    if (run.isLastResort) return restUntilFree(run, hold, wait)
    const next = nextGroup(run.claim.plan, run.progress, 'failure', (group) => groupFits(run, group))
    if (!next && run.waits.length === 0) return restUntilFree(run, hold, wait)
    run.waits.push({ at: wait.at, progress: run.progress })
    if (!next) return waitForFirst(run)
    run.progress = next
    return null
  }

  async function restUntilFree(run: Run, hold: Hold, wait: WaitReservation): Promise<RunOutcome | null> {
    if (wait.why === 'limit')
      run.progress = { ...run.progress, slot: { id: wait.deployment.id, at: wait.at } }
    if (run.waits.length > 0) run.progress = progressAfterWait(run)
    run.waits = []
    run.isLastResort = false
    const isTurn = wait.why === 'busy' && wait.isNext && !run.hasWaitedTurn
    const waitMs = isTurn ? WAIT_IN_PLACE_MS_MAX : wait.at - wait.now
    noteWait(run, wait.why, waitMs)
    if (wait.why === 'busy' && waitMs <= WAIT_IN_PLACE_MS_MAX) {
      // Calls end at any moment: the place is handed over as soon as one does.
      run.hasWaitedTurn ||= isTurn
      await state.waitTurn(run.claim.id, waitMs, hold.signal)
      return null
    }
    return rest(run, hold, waitMs, 'rate_limited')
  }

  /** Waits in place when that is short, else gives the slot back until then. */
  async function rest(
    run: Run,
    hold: Hold,
    waitMs: number,
    queueState: QueueState,
  ): Promise<RunOutcome | null> {
    if (queueState === 'retrying') noteWait(run, 'backoff', waitMs)
    if (waitMs > WAIT_IN_PLACE_MS_MAX) return snooze(run, hold, waitMs, queueState)
    if (waitMs > 0) await delay(waitMs, undefined, { signal: hold.signal }).catch(() => undefined)
    return null
  }

  async function snooze(
    run: Run,
    hold: Hold,
    waitMs: number,
    queueState: QueueState,
  ): Promise<RunOutcome | null> {
    const said = await persistUnlessStopped(hold, () => run.record.snooze(run, waitMs, queueState))
    if (said !== 'snoozed') return letGo(run, said)
    // At worst the place that it was handed meanwhile is lost with its lease.
    void state.noteParked(run.claim.id).catch(() => undefined)
    return { kind: 'snoozed', waitMs }
  }

  return { waitFor, rest }
}

export type Waiting = ReturnType<typeof createWaiting>

/** All groups wait: keep a place in the one that is free first. */
export function waitForFirst(run: Run): null {
  const [first] = run.waits.toSorted((a, b) => a.at - b.at)
  run.isLastResort = true
  if (!first) return null
  const { group } = first.progress
  run.progress = { ...run.progress, group }
  return null
}
