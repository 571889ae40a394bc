import type { Claim, Progress } from '../shared/claims.ts'
import { formatLog, keepAttempts } from '../shared/job-record.ts'
import type { Attempt, JobError } from '../shared/schemas/job.ts'
import type { ScriptArgument } from '../shared/scripts.ts'
import { loseAttempt } from './attempt.ts'
import type { ErrorClass } from '../shared/schemas/error-class.ts'
import type { ProviderError } from './providers/provider.ts'
import { startProgress } from './router.ts'

/** A group that has nothing free now, and when it will. */
export type Wait = { at: number; progress: Progress }

/** What one claim knows while it works; written to the record with the next script, never on its own. */
export type Run = {
  claim: Claim
  progress: Progress
  attemptsMade: number
  lastError: ProviderError | null
  waits: Wait[]
  /** No group is free: the next wait is final. */
  isLastResort: boolean
  /** All calls so far, as the next script writes them. */
  attempts: Attempt[]
  /** Tokens the request may use; counted once, when a limit asks. */
  tokens: number | null
  /** Back-off before a deployment that failed is called again; another one need not wait for it. */
  backoffMs: number | null
}

/** Opens a claim: calls that were in flight when an earlier worker died are marked as lost. */
export function openRun(claim: Claim, nowMs: number): { run: Run; lostCalls: number } {
  const run: Run = {
    claim,
    // A first claim writes no progress before its call: what it made counts when it died.
    progress: claim.progress ?? { ...startProgress(claim.plan), counted: claim.attempts.length },
    attemptsMade: claim.attemptsMade,
    lastError: null,
    waits: claim.progress?.waiting ? [{ at: 0, progress: claim.progress.waiting }] : [],
    isLastResort: false,
    attempts: claim.attempts.map((attempt) => (isOpen(attempt) ? loseAttempt(attempt, nowMs) : attempt)),
    tokens: null,
    backoffMs: null,
  }
  return { run, lostCalls: claim.attempts.filter(isOpen).length }
}

/** Where a claimed job stands, as record fields. */
export function standing({ attempts, attemptsMade, progress, waits }: Run): ScriptArgument[] {
  const stands = { ...progress, waiting: waits[0]?.progress ?? null }
  return ['log', formatLog(attempts), 'attempts', attemptsMade, 'run', JSON.stringify(stands)]
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
  const { failed, dead, counted, slot } = progress
  return { ...first.progress, visited, hops: visited.length - 1, failed, dead, counted, slot }
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

/** The end of a job whose workers died too often, or once when it asked for that. */
export function workerLostError(crashes: number): JobError {
  const message = `The worker running this job was lost (${crashes} time${crashes === 1 ? '' : 's'}). Calls that may have been billed are marked in attempts.`
  return { message, type: 'server_error', param: null, code: 'worker_lost' }
}

function isOpen({ outcome }: Attempt): boolean {
  return outcome === 'in_flight'
}
