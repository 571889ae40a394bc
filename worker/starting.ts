import { setTimeout as delay } from 'node:timers/promises'
import type { Candidate, DeploymentState, Grant, Reservation } from '../shared/routing/deployment-state.ts'
import type { Logger } from '../shared/log.ts'
import type { Attempt } from '../shared/schemas/job.ts'
import type { ReserveRequest } from '../shared/routing/deployment-reserve.ts'
import { openAttempt } from './attempt.ts'
import type { NotedOnDisk } from './on-disk.ts'
import { groupFits, tokensOf } from './fit.ts'
import { persistUnlessStopped } from './persist.ts'
import { nextGroup } from '../shared/routing/router.ts'
import type { Run } from './run.ts'
import type { StartWord } from './run-record.ts'
import type { Hold } from './running.ts'
import { rankingOf, strategyOf } from '../shared/routing/strategies.ts'

const NOTE_AGAIN_MS = 200

/** Leave to call, noted in the record; or why not. */
export type Start =
  | { kind: 'started'; grant: Grant; attempt: Attempt }
  | Extract<Reservation, { kind: 'wait' }>
  | { kind: Exclude<StartWord, 'started'> }

/** What comes before a call: a place at a deployment, and the attempt in the record, so that it is known whatever dies. */
export function createStarting({
  state,
  log,
  notedOnDisk = () => Promise.resolve('unsure'),
}: {
  state: DeploymentState
  log: Logger
  /** Without it nothing is called that asks for it. */
  notedOnDisk?: NotedOnDisk
}) {
  async function start(
    run: Run,
    hold: Hold,
    candidates: readonly [Candidate, ...Candidate[]],
  ): Promise<Start> {
    const started = await startSoon(run, hold, candidates)
    if (started.kind !== 'started' || run.claim.plan.durability !== 'fsync') return started
    const word = await orRelease(run, started.grant, keepNote(run, hold, started.attempt))
    if (word === 'started') return unlessStale(run, hold, candidates, started)
    release(run, started.grant)
    return { kind: word }
  }

  /** Nothing is called before its note is on the disk: a Redis that loses it would let it be called again, unmarked. */
  async function keepNote(run: Run, hold: Hold, attempt: Attempt): Promise<StartWord> {
    for (;;) {
      const kept = await notedOnDisk(run.claim.id, attempt.number)
      // Whoever is stopped calls nobody: its signal sees to that.
      if (kept === 'kept' || hold.reason() !== null) return 'started'
      await delay(NOTE_AGAIN_MS)
      const word = await persistUnlessStopped(hold, () => note(run, attempt))
      if (word !== 'started') return word
    }
  }

  async function startSoon(
    run: Run,
    hold: Hold,
    candidates: readonly [Candidate, ...Candidate[]],
  ): Promise<Start> {
    const started = await take(run, hold, candidates, run.progress.slot)
    return started.kind === 'started' ? unlessStale(run, hold, candidates, started) : started
  }

  /** Redis was away, its disk is slow, or this process stood still: the call has to be counted when it is made, or wait. */
  async function unlessStale(
    run: Run,
    hold: Hold,
    candidates: readonly [Candidate, ...Candidate[]],
    started: Extract<Start, { kind: 'started' }>,
  ): Promise<Start> {
    if (!isStale(started.grant)) return started
    const { deployment, bookedAt } = started.grant
    const slot = { id: deployment.id, at: bookedAt }
    const again = await orRelease(run, started.grant, take(run, hold, candidates, slot))
    if (again.kind !== 'started' || again.grant.deployment !== deployment) release(run, started.grant)
    return again
  }

  async function take(
    run: Run,
    hold: Hold,
    candidates: readonly [Candidate, ...Candidate[]],
    slot: ReserveRequest['slot'],
  ): Promise<Start> {
    const { plan } = run.claim
    const first = candidates[0].deployment
    const ranking = rankingOf(strategyOf(plan, first.group))
    const attempt = openAttempt(run.attemptsMade + 1, first, plan, Date.now())
    // The first choice is nearly always free: its start is noted beside the reservation, not after it.
    const isLikelyFree =
      slot === null && run.waits.length === 0 && (ranking === null || candidates.length === 1)
    const reserve = () =>
      state.reserve(plan, candidates, {
        holder: run.claim.id,
        tokens: tokensOf(run, first.group),
        slot,
        keepsPlace: run.isLastResort || (isOnlyGroup(run) && run.backoffMs === null),
        ranking,
      })
    const reserving = persistUnlessStopped(hold, reserve)
    const noting = isLikelyFree ? persistUnlessStopped(hold, () => note(run, attempt)) : null
    const [reservation, noted] = await Promise.all([reserving, noting]).catch(async (error: unknown) => {
      const reserved = await reserving
      if (reserved.kind === 'go') release(run, reserved.grant)
      throw error
    })
    if (noted !== null && noted !== 'started') {
      if (reservation.kind === 'go') release(run, reservation.grant)
      return { kind: noted }
    }
    if (reservation.kind === 'wait') return reservation
    const { grant } = reservation
    const isFirst = grant.deployment === first
    const made = isFirst ? attempt : openAttempt(attempt.number, grant.deployment, plan, Date.now())
    if (noted === null || !isFirst) {
      const again = await orRelease(
        run,
        grant,
        persistUnlessStopped(hold, () => note(run, made)),
      )
      if (again !== 'started') {
        release(run, grant)
        return { kind: again }
      }
    }
    return { kind: 'started', grant, attempt: made }
  }

  /** A step between leave and call: fails it, nothing is called. This process would keep the place as long as it lives. */
  async function orRelease<T>(run: Run, grant: Grant, step: Promise<T>): Promise<T> {
    try {
      return await step
    } catch (error) {
      release(run, grant)
      throw error
    }
  }

  // A probe that is never made, or never answered, must not keep its deployment closed, nor a place in flight be kept.
  function release(run: Run, grant: Grant): void {
    state.release(run.claim.plan, grant).catch((error: unknown) => {
      log.warn({ err: error, job_id: run.claim.id }, 'A place at a deployment could not be given back')
    })
  }

  return { start, release }
}

function note(run: Run, attempt: Attempt): Promise<StartWord> {
  const { record, attempts, attemptsMade, progress, claim } = run
  const isFirst = attemptsMade === 0 && progress.hops === 0 && !claim.progress
  // Written as if the call counted, which it does when this worker dies during it.
  const made = isFirst ? null : { ...progress, counted: progress.counted + 1, slot: null }
  return record.start(run, [...attempts, attempt], made)
}

/** A probe is not asked for twice: its deployment is closed to all others. */
function isStale({ freshUntil = Number.POSITIVE_INFINITY, isProbe }: Grant): boolean {
  return !isProbe && performance.now() > freshUntil
}

function isOnlyGroup(run: Run): boolean {
  const { claim, progress, waits } = run
  return (
    waits.length === 0 &&
    nextGroup(claim.plan, progress, 'failure', (group) => groupFits(run, group)) === null
  )
}
