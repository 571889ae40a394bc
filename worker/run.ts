import type { Progress } from '../shared/jobs/claims.ts'
import type { Tokens } from '../shared/routing/deployment-state.ts'
import { keepAttempts, type AnswerFacts } from '../shared/jobs/record-texts.ts'
import type { PlanDeployment } from '../shared/schemas/plan.ts'
import type { Attempt, JobError } from '../shared/schemas/job.ts'
import { loseAttempt, shownGroup } from './attempt.ts'
import type { ErrorClass } from '../shared/schemas/error-class.ts'
import type { ProviderError } from './providers/provider.ts'
import { startProgress } from '../shared/routing/router.ts'
import type { RunRecord, Work } from './run-record.ts'
import { isLineId } from '../shared/batches/batch-results.ts'
import { UNTRACED, type TracedWork, type WaitReason, type WorkTrace } from '../shared/tracing.ts'

/** A group that has nothing free now, and when it will. */
export type Wait = { at: number; progress: Progress }

/** What one claim knows while it works; written to the record with the next script, never on its own. */
export type Run = {
  claim: Work
  record: RunRecord
  progress: Progress
  attemptsMade: number
  lastError: ProviderError | null
  waits: Wait[]
  /** No group is free: the next wait is final. */
  isLastResort: boolean
  /** All calls so far, as the next script writes them. */
  attempts: Attempt[]
  /** Tokens that the request may use, by group where that brings a prompt of its own. */
  tokens: Map<string, Tokens>
  /** Back-off before a deployment that failed is called again; another one need not wait for it. */
  backoffMs: number | null
  /** It stood in place for its turn at a full deployment; the next wait gives the slot back. */
  hasWaitedTurn: boolean
  /** Deployment of the last call. */
  last: PlanDeployment | null
  /** Why the next call is not made at once, and how long it was to wait; for the log. */
  waited: { why: WaitReason; ms: number } | null
  trace: WorkTrace
}

/** As it is traced. */
export function tracedWork({ id, meta }: Work): TracedWork {
  return { noun: isLineId(id) ? 'line' : 'job', id, trace: meta.trace }
}

/** Opens a claim: calls that were in flight when an earlier worker died are marked as lost. */
export function openRun(
  claim: Work,
  record: RunRecord,
  nowMs: number,
  trace: WorkTrace = UNTRACED,
): { run: Run; lostCalls: number } {
  const run: Run = {
    claim,
    record,
    // A first claim writes no progress before its call: what it made counts when it died.
    progress: claim.progress ?? { ...startProgress(claim.plan), counted: claim.attempts.length },
    attemptsMade: claim.attemptsMade,
    lastError: null,
    waits: claim.progress?.waiting ? [{ at: 0, progress: claim.progress.waiting }] : [],
    isLastResort: false,
    attempts: claim.attempts.map((attempt) => (isOpen(attempt) ? loseAttempt(attempt, nowMs) : attempt)),
    tokens: new Map(),
    backoffMs: null,
    hasWaitedTurn: false,
    last: null,
    waited: claim.progress?.waited ?? null,
    trace,
  }
  return { run, lostCalls: claim.attempts.filter(isOpen).length }
}

/** Where a run stands in its plan when it is put back. */
export function restingProgress({ progress, waits, waited }: Run): Progress {
  return { ...progress, waiting: waits[0]?.progress ?? null, ...(waited ? { waited } : {}) }
}

/** What an answer's headers tell: who answered after how many tries. Null when no call was made. */
export function answerFacts(run: Run, headers: Record<string, string>): AnswerFacts | null {
  const { last, attempts, progress, claim } = run
  if (!last) return null
  const group = shownGroup(claim.plan, last.group)
  const tries = attempts.filter(({ model_group: tried }) => tried === group).length
  return {
    model_id: last.id,
    model_group: group,
    retries: Math.max(0, tries - 1),
    fallbacks: progress.hops,
    headers,
  }
}

/** What all these calls cost, in dollars; null when no price is known. */
export function costOf(attempts: readonly Attempt[]): number | null {
  const costs = attempts.flatMap(({ cost }) => cost ?? [])
  return costs.length > 0 ? costs.reduce((sum, cost) => sum + cost, 0) : null
}

/** Notes how a call ended. A job that waits out many 429s makes many calls: the first and the last are kept. */
export function noteAttempt(run: Run, attempt: Attempt): void {
  run.attempts = keepAttempts([...run.attempts, attempt])
}

/**
 * Where the job goes on after its wait: at the first group that had to wait, so that preference is asked anew; groups that
 * only had nothing free are open again, those that failed stay visited.
 */
export function progressAfterWait({ progress, waits }: Run): Progress {
  const [first] = waits
  if (!first) return progress
  const waited = new Set(waits.map((wait) => wait.progress.group))
  const visited = [...progress.visited.filter((group) => !waited.has(group)), first.progress.group]
  const { failed, dead, counted, slot, outgrown } = progress
  const known = { failed, dead, counted, slot, ...(outgrown === undefined ? {} : { outgrown }) }
  return { ...first.progress, ...known, visited, hops: visited.length - 1 }
}

const CODES: Partial<Record<ErrorClass, string>> = {
  rate_limit: 'upstream_rate_limited',
  timeout: 'upstream_timeout',
  api_connection: 'upstream_unreachable',
  egress_refused: 'address_refused',
  context_window_exceeded: 'context_length_exceeded',
  content_policy_violation: 'content_policy_violation',
}

/** The job's error when its last call failed: the provider's own words, and a code in any case. */
export function jobError(error: ProviderError | null): JobError {
  if (!error) {
    const message = 'No deployment of the requested model can be called.'
    return { message, type: 'server_error', param: null, code: 'all_targets_failed' }
  }
  // Not to be taken for the gateway's own 401.
  if (error.class === 'authentication') {
    return { message: error.message, type: 'authentication_error', param: null, code: 'invalid_provider_key' }
  }
  const { message, type, param } = error
  return { message, type, param, code: error.code ?? CODES[error.class] ?? 'upstream_error' }
}

/** The end of a job whose answer had begun to go out when its worker died: it can't begin again. */
export function streamLostError(): JobError {
  const message =
    'The worker that passed this answer on was lost before its end. What had come is kept as the result.'
  return { message, type: 'server_error', param: null, code: 'stream_interrupted' }
}

/** The end of a line whose batch has spent, or holds, what its tenant or customer may spend in a day. */
export function overBudgetError(): JobError {
  const message =
    'This line was not run: what it may cost is more than is left of the budget of this day (UTC). Retry the batch tomorrow, or with a higher budget.'
  return { message, type: 'insufficient_quota', param: null, code: 'insufficient_quota' }
}

/** The end of a job whose workers died too often, or once when it asked for that. */
export function workerLostError(crashes: number): JobError {
  const message = `The worker running this job was lost (${crashes} time${crashes === 1 ? '' : 's'}). Calls that may have been billed are marked in attempts.`
  return { message, type: 'server_error', param: null, code: 'worker_lost' }
}

function isOpen({ outcome }: Attempt): boolean {
  return outcome === 'in_flight'
}
