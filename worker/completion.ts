import type { Claims } from '../shared/jobs/claims.ts'
import type { DeploymentState, Grant } from '../shared/routing/deployment-state.ts'
import { SealError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import type { FedJob } from '../shared/jobs/queues.ts'
import type { Attempt } from '../shared/schemas/job.ts'
import type { CredentialBundle } from '../shared/schemas/plan.ts'
import type { Settle, SettleResult, SettleSubject } from '../shared/jobs/settle.ts'
import { callDeployment, closeAttempt, filteredAttempt, type Providers } from './attempt.ts'
import { createCallNotes } from './call-notes.ts'
import { choose } from './choosing.ts'
import { complete, endBroken, endRun, letGo, stop } from './ending.ts'
import { failFirst } from './first-failure.ts'
import { createLeaving, fallsBackFromFilter, moveOn } from './leaving.ts'
import type { NotedOnDisk } from './on-disk.ts'
import { persistUnlessStopped, RedisAwayError } from './persist.ts'
import type { CallOutcome, ProviderReply } from './providers/provider.ts'
import { createJobRecords } from './record-of-job.ts'
import {
  jobError,
  noteAttempt,
  openRun,
  overBudgetError,
  streamLostError,
  tracedWork,
  workerLostError,
  type Run,
} from './run.ts'
import type { RunOutcome, RunRecord, Work } from './run-record.ts'
import type { Hold, RunningJobs } from './running.ts'
import { createStarting } from './starting.ts'
import type { Streaming } from './streaming.ts'
import { NO_TRACING, type Tracing, type WorkTrace } from '../shared/tracing.ts'
import { strategyOf } from '../shared/routing/strategies.ts'
import { timeoutMsOf } from './timeouts.ts'
import { createWaiting } from './waiting.ts'

export type CompletionDeps = {
  claims: Claims
  settle: Settle
  state: DeploymentState
  running: RunningJobs
  streaming: Streaming
  providers: Providers
  operatorBundles: ReadonlyMap<string, CredentialBundle>
  crashesMax: number
  /** Back-off before the first retry, in milliseconds; it doubles up to sixteen times as much. */
  retryInitialMs: number
  /** Uniform in [0, 1). */
  random: () => number
  log: Logger
  tracing?: Tracing
  notedOnDisk?: NotedOnDisk
  /** Follows every end, possibly twice: announce it, let the next job in. Never throws. */
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  afterSnooze: (tenantsWaiting: number) => void
}

/**
 * Runs one completion: claim it, call deployments until one answers or nothing is left, then settle it once, or put it
 * back for later. The only retry loop there is.
 */
export function createCompletion(deps: CompletionDeps) {
  const { claims, state, running, log, tracing = NO_TRACING } = deps
  const records = createJobRecords(deps)
  const { waitFor, rest } = createWaiting(state)
  const starting = createStarting(deps)
  const leaving = createLeaving(deps)
  const notes = createCallNotes(log)

  /** @param onClaimed Called once it is in hand, or need not be. */
  async function runJob(fed: FedJob, onClaimed: () => void = noop): Promise<RunOutcome> {
    // This process was taken for dead, and the job is handed out again: the run that is under way is the one.
    const isUnderWay = running.find(fed.id) !== null
    const result = isUnderWay ? null : await claims.claim(fed)
    onClaimed()
    if (!result) return { kind: 'dropped', why: 'adopted' }
    if (result.kind === 'cancelled' || result.kind === 'expired') return records.endFree(fed.id, result.kind)
    if (result.kind === 'unreadable') {
      const { message, type, code } =
        result.error instanceof SealError ? result.error : new SealError('The record is damaged.')
      log.error({ job_id: fed.id, code }, 'A job can not be opened')
      return records.endUnreadable(result, { message, type, param: null, code })
    }
    if (result.kind !== 'claimed') return { kind: 'dropped', why: result.kind }
    const { claim } = result
    const hold = running.enter(claim.id, claim.token, claim.deadline - Date.now())
    try {
      return await work(claim, hold, records.open(claim, hold))
    } catch (error) {
      if (error instanceof RedisAwayError) return { kind: 'dropped', why: 'redis_away' }
      throw error
    } finally {
      hold.leave()
    }
  }

  /**
   * Runs what was claimed, until it is settled, put back or lost.
   * @throws {RedisAwayError} when it was stopped while Redis was away.
   */
  function work(claim: Work, hold: Hold, record: RunRecord): Promise<RunOutcome> {
    return tracing.work(tracedWork(claim), (trace) => workTraced(claim, hold, record, trace))
  }

  async function workTraced(
    claim: Work,
    hold: Hold,
    record: RunRecord,
    trace: WorkTrace,
  ): Promise<RunOutcome> {
    const { run, lostCalls } = openRun(claim, record, Date.now(), trace)
    if (lostCalls > 0) notes.noteLost(run)
    const remains = record.stream && (await persistUnlessStopped(hold, record.remains))
    if (remains?.kind === 'whole') return complete(run, remains.reply, remains.pieces)
    if (remains) return endBroken(run, streamLostError(), remains.partial)
    const isGivenUp = claim.crashes > deps.crashesMax || (lostCalls > 0 && claim.meta.onCrash === 'fail')
    if (isGivenUp) return endRun(run, 'failed', workerLostError(claim.crashes))
    for (;;) {
      const reason = hold.reason()
      const outcome = reason ? await stop(run, reason) : await step(run, hold)
      if (outcome) return outcome
    }
  }

  /** One turn of the loop: choose, take a place, call, judge. Null: go on. */
  async function step(run: Run, hold: Hold): Promise<RunOutcome | null> {
    const { plan } = run.claim
    const choice = choose(run, deps.random)
    if (choice.kind === 'nobody') return moveOn(run, choice.reason)
    if (run.progress.counted >= plan.max_attempts) return endRun(run, 'failed', jobError(run.lastError))
    const [{ deployment: first }] = choice.candidates
    if (run.backoffMs !== null && run.progress.failed.includes(first.id)) return backOff(run, hold)
    const started = await starting.start(run, hold, choice.candidates)
    if (started.kind === 'wait')
      return run.backoffMs === null ? waitFor(run, hold, started) : backOff(run, hold)
    if (started.kind === 'over_budget') return endRun(run, 'failed', overBudgetError())
    if (started.kind !== 'started') return letGo(run, started.kind)
    noteStart(run, started.grant)
    return call(run, hold, started.grant, started.attempt)
  }

  async function call(run: Run, hold: Hold, grant: Grant, attempt: Attempt): Promise<RunOutcome | null> {
    const { plan, body } = run.claim
    const played = attempt.number === 1 ? plan.first_failure : undefined
    // Not shortened to the deadline: the hold stops the call then, so that it ends `expired` and not as a timeout.
    const timeoutMs = timeoutMsOf(plan, grant.deployment, body['stream'] === true)
    const { stream } = run.record
    const outcome: CallOutcome = played
      ? { kind: 'error', error: failFirst(played) }
      : await callDeployment(run.claim, grant, deps, { timeoutMs, signal: hold.signal, sink: stream })
    const isStopped = outcome.kind === 'error' && hold.reason() !== null
    const closed = closeAttempt(attempt, grant.deployment, outcome, isStopped, Date.now())
    const note = (ended: Attempt) => {
      noteAttempt(run, ended)
      notes.note(run, grant.deployment, ended, outcome)
    }
    if (outcome.kind === 'reply') {
      noteUse(run, grant, outcome.reply, closed)
      const fallsBack = !stream?.isStarted() && fallsBackFromFilter(run, grant, outcome.reply)
      const pieces = fallsBack ? undefined : await stream?.finish()
      note(fallsBack && run.lastError ? filteredAttempt(closed, run.lastError) : closed)
      return fallsBack ? null : complete(run, outcome.reply, pieces)
    }
    note(closed)
    if (isStopped) {
      starting.release(run, grant)
      return null
    }
    if (stream?.isStarted()) return breakOff(run, hold, grant, outcome)
    if (played) return leaving.afterPlayedFailure(run, hold, grant, outcome.error)
    return leaving.afterFailure(run, hold, grant, outcome.error)
  }

  /** A part of the answer is with the client: no other call can take its place. */
  async function breakOff(
    run: Run,
    hold: Hold,
    grant: Grant,
    { error, partial }: Extract<CallOutcome, { kind: 'error' }>,
  ): Promise<RunOutcome | null> {
    await leaving.noteFailure(run, hold, grant, error)
    await run.record.stream?.flushed()
    return hold.reason() ? null : endBroken(run, jobError(error), partial ?? null)
  }

  // Nobody waits for it: what it changes is asked by the next job.
  function noteUse(run: Run, grant: Grant, reply: ProviderReply, attempt: Attempt): void {
    const { plan, id } = run.claim
    const success = {
      usage: reply.usage,
      latencyMs: (attempt.ended_at ?? attempt.started_at) - attempt.started_at,
      restMs: reply.restMs,
      strategy: strategyOf(plan, grant.deployment.group),
    }
    state.succeed(plan, grant, success).catch((error: unknown) => {
      log.warn({ err: error, job_id: id }, 'Usage of a deployment could not be noted')
    })
  }

  function backOff(run: Run, hold: Hold): Promise<RunOutcome | null> {
    const waitMs = run.backoffMs ?? 0
    run.backoffMs = null
    return rest(run, hold, waitMs, 'retrying')
  }

  return { run: runJob, work }
}

export type Completion = ReturnType<typeof createCompletion>

function noop(): void {}

/** The call is about to be made, and is counted as if it will count. */
function noteStart(run: Run, { deployment }: Grant): void {
  run.attemptsMade++
  run.last = deployment
  run.progress = { ...run.progress, counted: run.progress.counted + 1, slot: null }
  run.waits = run.waits.filter((wait) => wait.progress.group !== deployment.group)
  run.isLastResort = false
  run.hasWaitedTurn = false
  run.backoffMs = null
}
