import { ownerOf } from '../shared/routing/cooldown-rule.ts'
import type { DeploymentState, Grant } from '../shared/routing/deployment-state.ts'
import { retryDelayMs } from './backoff.ts'
import { endRun } from './ending.ts'
import { groupFits } from './fit.ts'
import { persistUnlessStopped } from './persist.ts'
import { plainError } from './providers/classify.ts'
import type { ProviderError, ProviderReply } from './providers/provider.ts'
import {
  countsAsAttempt,
  isClientsMistake,
  isFilteredFailure,
  judge,
  nextGroup,
  type LeaveReason,
} from '../shared/routing/router.ts'
import { jobError, type Run } from './run.ts'
import type { RunOutcome } from './run-record.ts'
import type { Hold } from './running.ts'
import { strategyOf } from '../shared/routing/strategies.ts'
import { waitForFirst } from './waiting.ts'

/** What follows a call that did not bring the answer: another try, another group, a wait, or the end. */
export function createLeaving(deps: {
  state: DeploymentState
  random: () => number
  retryInitialMs: number
}) {
  const { state } = deps

  /** Counts a failed call and judges it. Null: go on. */
  async function afterFailure(
    run: Run,
    hold: Hold,
    grant: Grant,
    error: ProviderError,
  ): Promise<RunOutcome | null> {
    if (!countsAsAttempt(error)) run.progress = { ...run.progress, counted: run.progress.counted - 1 }
    await noteFailure(run, hold, grant, error)
    return goOn(run, hold, grant, error)
  }

  /** Counts a failed call against its deployment. */
  async function noteFailure(run: Run, hold: Hold, grant: Grant, error: ProviderError): Promise<void> {
    run.lastError = error
    const failure = describeFailure(run, grant, error)
    await persistUnlessStopped(hold, () => state.fail(run.claim.plan, grant, failure))
  }

  /** The same for a failure that was only played: no deployment is to blame. */
  async function afterPlayedFailure(
    run: Run,
    hold: Hold,
    grant: Grant,
    error: ProviderError,
  ): Promise<RunOutcome | null> {
    run.lastError = error
    await persistUnlessStopped(hold, () => state.release(run.claim.plan, grant))
    return goOn(run, hold, grant, error)
  }

  async function goOn(run: Run, hold: Hold, grant: Grant, error: ProviderError): Promise<RunOutcome | null> {
    const { plan } = run.claim
    const { deployment } = grant
    if (error.class === 'context_window_exceeded') noteOutgrown(run, deployment.max_input_tokens)
    const judged = judge(plan, run.progress, deployment, error)
    run.progress = judged.progress
    if (judged.verdict.kind === 'move_on') return null
    if (judged.verdict.kind === 'fall_back') return moveOn(run, judged.verdict.reason)

    if (run.progress.counted >= plan.max_attempts) return endRun(run, 'failed', jobError(run.lastError))
    run.backoffMs = retryDelayMs({
      retry: run.progress.retries - 1,
      retryAfterMs: error.retryAfterMs,
      retryAfterSecondsMin: plan.retry_after_s,
      random: deps.random,
      initialMs: deps.retryInitialMs,
    })
    // Asked only where there is an alternative to the back-off: without it the wait is as long either way.
    const next = nextGroup(plan, run.progress, 'failure', (group) => groupFits(run, group))
    if (next && (await isGroupResting(run, hold))) run.backoffMs = null
    return null
  }

  /** Whether all of the group cool or have a key that rests: LiteLLM does not retry then, but falls back. */
  async function isGroupResting({ claim: { plan }, progress }: Run, hold: Hold): Promise<boolean> {
    const alive = plan.deployments.filter(
      ({ group, id }) => group === progress.group && !progress.dead.includes(id),
    )
    const ownerId = ownerOf(plan, alive[0])
    const standings = await persistUnlessStopped(hold, () => state.read(ownerId, alive))
    return standings.every(({ coolingUntil, pausedUntil }) => (coolingUntil ?? pausedUntil) !== null)
  }

  return { afterFailure, afterPlayedFailure, noteFailure }
}

/** The group has nothing more to give: a fallback, else wait for one that can come back, else the end. */
export async function moveOn(run: Run, reason: LeaveReason): Promise<RunOutcome | null> {
  const next = nextGroup(run.claim.plan, run.progress, reason, (group) => groupFits(run, group))
  if (next) {
    run.progress = next
    run.backoffMs = null
    return null
  }
  // What a provider calls wrong would be wrong after a wait as well.
  if (run.waits.length > 0 && reason !== 'wrong_request') return waitForFirst(run)
  if (reason === 'context') run.lastError ??= tooLong()
  return endRun(run, 'failed', jobError(run.lastError))
}

/**
 * A 200 that the provider's content filter cut short: a failure where another group can be asked.
 * @returns false when it stands as the answer.
 */
export function fallsBackFromFilter(run: Run, { deployment }: Grant, reply: ProviderReply): boolean {
  const { plan } = run.claim
  if (!reply.isFiltered || !isFilteredFailure(plan, deployment.group)) return false
  const next = nextGroup(plan, run.progress, 'content', (group) => groupFits(run, group))
  if (!next) return false
  const error = plainError('content_policy_violation', "The provider's content filter ended the answer.")
  run.lastError = { ...error, status: 400, isPossiblyBilled: true }
  run.progress = { ...next, failed: [...next.failed, deployment.id] }
  return true
}

function describeFailure({ claim: { plan } }: Run, { deployment }: Grant, error: ProviderError) {
  // Twins of a list are one deployment.
  const ids = plan.deployments.filter(({ group }) => group === deployment.group).map(({ id }) => id)
  return {
    class: error.class,
    status: error.status,
    isClientsMistake: isClientsMistake(plan, deployment, error),
    retryAfterMs: error.retryAfterMs,
    isPossiblyBilled: error.isPossiblyBilled,
    groupSize: new Set(ids).size,
    strategy: strategyOf(plan, deployment.group),
  }
}

function noteOutgrown(run: Run, size: number | undefined): void {
  if (size === undefined) return
  run.progress = { ...run.progress, outgrown: Math.max(size, run.progress.outgrown ?? 0) }
}

/** Nobody was called: by our own estimate no window holds the prompt. */
function tooLong(): ProviderError {
  const message =
    'The prompt is longer than the context window of every deployment that could be called (enable_pre_call_checks).'
  return { ...plainError('context_window_exceeded', message), status: 400, code: 'context_length_exceeded' }
}
