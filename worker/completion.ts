import type { Claim, Claims } from '../shared/claims.ts'
import type { DeploymentState, Grant, Reservation } from '../shared/deployment-state.ts'
import { SealError } from '../shared/errors.ts'
import { formatLog } from '../shared/job-record.ts'
import type { Logger } from '../shared/log.ts'
import type { FedJob } from '../shared/queues.ts'
import type { Attempt } from '../shared/schemas/job.ts'
import type { CredentialBundle, PlanDeployment } from '../shared/schemas/plan.ts'
import type { ScriptArgument } from '../shared/scripts.ts'
import { type Settle, type SettleResult, type SettleSubject } from '../shared/settle.ts'
import { callDeployment, closeAttempt, openAttempt, type Providers } from './attempt.ts'
import { createEnding, type RunOutcome } from './ending.ts'
import { retryDelayMs } from './backoff.ts'
import { persist, RedisAwayError } from './persist.ts'
import type { ProviderError } from './providers/provider.ts'
import { countsAsAttempt, isClientsMistake, judge, nextGroup, orderCandidates } from './router.ts'
import { jobError, noteAttempt, openRun, workerLostError, type Run } from './run.ts'
import type { Hold, RunningJobs } from './running.ts'
import { estimateTokens } from './tokens.ts'
import { createWaiting, waitForFirst } from './waiting.ts'

export type CompletionDeps = {
  claims: Claims
  settle: Settle
  state: DeploymentState
  running: RunningJobs
  providers: Providers
  operatorBundles: ReadonlyMap<string, CredentialBundle>
  crashesMax: number
  /** Uniform in [0, 1). */
  random: () => number
  log: Logger
  /** Follows every end, possibly twice: announce it, let the next job in. Never throws. */
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  afterSnooze: (tenantsWaiting: number) => void
}

/**
 * Runs one completion: claim it, call deployments until one answers or nothing is left, then settle it once, or put it
 * back for later. The only retry loop there is.
 */
export function createCompletion(deps: CompletionDeps) {
  const { claims, state, running, log } = deps
  const ending = createEnding(deps)
  const waiting = createWaiting({ claims, ending, afterSnooze: deps.afterSnooze })
  const { complete, endClaim, endUnreadable, endFree, stop, letGo } = ending
  const { waitFor, rest } = waiting

  async function runEntry(fed: FedJob): Promise<RunOutcome> {
    const own = running.find(fed.id)
    if (own) {
      // BullMQ took this process for dead and hands the job out again: the run that is under way is the one.
      await own
      return { kind: 'dropped', why: 'adopted' }
    }
    const result = await claims.claim(fed)
    if (result.kind === 'cancelled' || result.kind === 'expired') return endFree(fed.id, result.kind)
    if (result.kind === 'unreadable') {
      const { message, type, code } =
        result.error instanceof SealError ? result.error : new SealError('The record is damaged.')
      log.error({ job_id: fed.id, code }, 'A job can not be opened')
      return endUnreadable(result, { message, type, param: null, code })
    }
    if (result.kind !== 'claimed') return { kind: 'dropped', why: result.kind }
    const { claim } = result
    const hold = running.enter(claim.id, claim.token, claim.deadline - Date.now())
    try {
      return await work(claim, hold)
    } catch (error) {
      if (error instanceof RedisAwayError) return { kind: 'dropped', why: 'redis_away' }
      throw error
    } finally {
      hold.leave()
    }
  }

  async function work(claim: Claim, hold: Hold): Promise<RunOutcome> {
    const { run, lostCalls } = openRun(claim, Date.now())
    const isGivenUp = claim.crashes > deps.crashesMax || (lostCalls > 0 && claim.meta.onCrash === 'fail')
    if (isGivenUp) return endClaim(run, 'failed', workerLostError(claim.crashes))
    for (;;) {
      const reason = hold.reason()
      const outcome = reason ? await stop(run, reason) : await step(run, hold)
      if (outcome) return outcome
    }
  }

  /** One turn of the loop: reserve, call, judge. Null: go on. */
  async function step(run: Run, hold: Hold): Promise<RunOutcome | null> {
    const { plan } = run.claim
    const candidates = choose(run)
    const [first] = candidates
    if (!first) return moveOn(run)
    if (run.progress.counted >= plan.max_attempts) return endClaim(run, 'failed', jobError(run.lastError))
    if (run.backoffMs !== null && run.progress.failed.includes(first.id)) return backOff(run, hold)

    const attempt = openAttempt(run.attemptsMade + 1, first, Date.now())
    // The first choice is nearly always free: its start is noted beside the reservation, not after it.
    const isLikelyFree = run.progress.slot === null && run.waits.length === 0
    const [reservation, noted] = await Promise.all([
      away(hold, () => reserve(run, candidates)),
      isLikelyFree ? away(hold, () => startAttempt(run, attempt)) : null,
    ])
    if (noted !== null && noted !== 'started') {
      if (reservation.kind === 'go') release(run, reservation.grant)
      return letGo(run, noted)
    }
    if (reservation.kind === 'wait')
      return run.backoffMs === null ? waitFor(run, hold, reservation) : backOff(run, hold)
    const { grant } = reservation
    const made =
      grant.deployment === first ? attempt : openAttempt(attempt.number, grant.deployment, Date.now())
    if (!noted || grant.deployment !== first) {
      const again = await away(hold, () => startAttempt(run, made))
      if (again !== 'started') {
        release(run, grant)
        return letGo(run, again)
      }
    }
    run.attemptsMade++
    run.progress = { ...run.progress, counted: run.progress.counted + 1, slot: null }
    run.waits = run.waits.filter((wait) => wait.progress.group !== grant.deployment.group)
    run.isLastResort = false
    run.backoffMs = null

    // Not shortened to the deadline: the hold stops the call then, so that it ends `expired` and not as a timeout.
    const timeoutMs = Math.max(1, (grant.deployment.timeout_s ?? plan.timeout_s) * 1000)
    const outcome = await callDeployment(run.claim, grant, deps, { timeoutMs, signal: hold.signal })
    const isStopped = outcome.kind === 'error' && hold.reason() !== null
    noteAttempt(run, closeAttempt(made, outcome, isStopped, Date.now()))
    if (outcome.kind === 'reply') return complete(run, grant, outcome.reply)
    if (isStopped) {
      release(run, grant)
      return null
    }
    return afterFailure(run, hold, grant, outcome.error)
  }

  /** Best first. While a back-off is due, those that have not failed in this job come alone: they need not wait. */
  function choose(run: Run): PlanDeployment[] {
    const { progress, claim, backoffMs } = run
    const candidates = orderCandidates(claim.plan, progress, deps.random)
    const fresh = backoffMs === null ? [] : candidates.filter(({ id }) => !progress.failed.includes(id))
    return fresh.length > 0 ? fresh : candidates
  }

  function backOff(run: Run, hold: Hold): Promise<RunOutcome | null> {
    const waitMs = run.backoffMs ?? 0
    run.backoffMs = null
    return rest(run, hold, waitMs, 'retrying')
  }

  // A probe that is never made, or never answered, must not keep its deployment closed.
  function release(run: Run, grant: Grant): void {
    state.release(run.claim.plan, grant).catch((error: unknown) => {
      log.warn({ err: error, job_id: run.claim.id }, 'A probe could not be given back')
    })
  }

  function reserve(run: Run, candidates: readonly PlanDeployment[]): Promise<Reservation> {
    const { claim, progress } = run
    if (run.tokens === null && candidates.some(({ tpm }) => tpm !== null))
      run.tokens = estimateTokens(claim.body)
    return state.reserve(claim.plan.owner_id, candidates, {
      tokens: run.tokens ?? 0,
      slot: progress.slot,
      keepsPlace: run.isLastResort || (isOnlyGroup(run) && run.backoffMs === null),
    })
  }

  function startAttempt(run: Run, attempt: Attempt) {
    const fields: ScriptArgument[] = [
      'log',
      formatLog([...run.attempts, attempt]),
      'attempts',
      run.attemptsMade + 1,
    ]
    // Written as if the call counted, which it does when this worker dies during it.
    const progress = { ...run.progress, counted: run.progress.counted + 1, slot: null }
    if (run.attemptsMade > 0 || run.progress.hops > 0 || run.claim.progress)
      fields.push('run', JSON.stringify(progress))
    return claims.start(run.claim, fields)
  }

  async function afterFailure(
    run: Run,
    hold: Hold,
    grant: Grant,
    error: ProviderError,
  ): Promise<RunOutcome | null> {
    const { plan } = run.claim
    const { deployment } = grant
    if (!countsAsAttempt(error)) run.progress = { ...run.progress, counted: run.progress.counted - 1 }
    run.lastError = error
    const groupSize = plan.deployments.filter(({ group }) => group === deployment.group).length
    const { status, retryAfterMs } = error
    const { isPossiblyBilled } = error
    const mistake = isClientsMistake(plan, error)
    const failure = { status, isClientsMistake: mistake, retryAfterMs, isPossiblyBilled, groupSize }
    await away(hold, () => state.fail(plan, grant, failure))
    const judged = judge(plan, run.progress, deployment, error)
    run.progress = judged.progress
    if (judged.verdict.kind === 'move_on') return null
    if (judged.verdict.kind === 'fall_back') return moveOn(run)
    if (judged.verdict.kind === 'give_up') return endClaim(run, 'failed', jobError(error))

    if (run.progress.counted >= plan.max_attempts) return endClaim(run, 'failed', jobError(error))
    run.backoffMs = retryDelayMs({
      retry: run.progress.retries - 1,
      retryAfterMs,
      retryAfterSecondsMin: plan.retry_after_s,
      hasHealthyOthers: false,
      random: deps.random,
    })
    return null
  }

  /** The group has nothing more to give: a fallback, else wait for one that can come back, else the end. */
  async function moveOn(run: Run): Promise<RunOutcome | null> {
    const next = nextGroup(run.claim.plan, run.progress)
    if (next) {
      run.progress = next
      return null
    }
    if (run.waits.length > 0) return waitForFirst(run)
    return endClaim(run, 'failed', jobError(run.lastError))
  }

  return { run: runEntry }
}

function isOnlyGroup({ claim, progress, waits }: Run): boolean {
  return waits.length === 0 && nextGroup(claim.plan, progress) === null
}

// Anything but settling is given up when the job was stopped: its lease may be another's by now.
function away<T>(hold: Hold, action: () => Promise<T>): Promise<T> {
  return persist(action, () => hold.reason() !== null)
}
