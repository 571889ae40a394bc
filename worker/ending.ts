import type { Claims } from '../shared/claims.ts'
import type { Logger } from '../shared/log.ts'
import { formatLog } from '../shared/job-record.ts'
import type { JobError } from '../shared/schemas/job.ts'
import type { ScriptArgument } from '../shared/scripts.ts'
import {
  endError,
  type Settle,
  type SettleResult,
  type SettleSubject,
  type TerminalStatus,
} from '../shared/settle.ts'
import { persist } from './persist.ts'
import type { ProviderReply } from './providers/provider.ts'
import { answerFields, standing, workerLostError, type Run } from './run.ts'
import type { StopReason } from './running.ts'

// A worker that ends can't wait long for Redis; what it can't hand back is found by its lease.
const HAND_BACK_MS = 3_000

/** How one queue entry ended. `dropped`: there was nothing to do, or somebody else does it. */
export type RunOutcome =
  | { kind: 'settled'; status: TerminalStatus }
  | { kind: 'snoozed'; waitMs: number }
  | { kind: 'dropped'; why: string }

/** All the ways out of a run that end the job, or leave it to others. */
export function createEnding(deps: {
  claims: Claims
  settle: Settle
  log: Logger
  /** Follows every end, possibly twice: announce it, let the next job in. Never throws. */
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  afterSnooze: (tenantsWaiting: number) => void
}) {
  const { claims } = deps

  /**
   * The provider answered.
   * @param pieces Of a streamed answer: how many there are in its stream.
   */
  function complete(run: Run, reply: ProviderReply, pieces?: number): Promise<RunOutcome> {
    const { sealed } = run.claim
    const fields: ScriptArgument[] = ['out', sealed.seal('out', reply.body), 'status_code', reply.status]
    if (reply.requestId) fields.push('request_id', reply.requestId)
    if (pieces !== undefined) fields.push('pieces', pieces)
    if (reply.usage) fields.push('usage', JSON.stringify(reply.usage))
    if (reply.warnings && reply.warnings.length > 0) fields.push('warned', JSON.stringify(reply.warnings))
    return endRun(run, 'complete', 'completed', null, [...fields, ...answerFields(run, reply.headers)])
  }

  /** Ends a claimed job without a result; a failed one carries the provider's last answer beside the error. */
  function endClaim(run: Run, status: TerminalStatus, error: JobError | null): Promise<RunOutcome> {
    const upstream = status === 'failed' ? run.lastError : null
    const fields = answerFields(run, upstream?.headers ?? {})
    if (!upstream?.status) return endRun(run, 'claim', status, error, fields)
    const out = run.claim.sealed.seal('out', JSON.stringify({ error }))
    return endRun(run, 'claim', status, error, ['out', out, 'status_code', upstream.status, ...fields])
  }

  /** Ends a job whose answer broke off after a part of it was passed on: that part is its result. */
  function endBroken(run: Run, error: JobError, partial: Buffer | null): Promise<RunOutcome> {
    if (!partial) return endClaim(run, 'failed', error)
    const fields = ['out', run.claim.sealed.seal('out', partial), 'status_code', 200]
    return endRun(run, 'claim', 'failed', error, [
      ...fields,
      ...answerFields(run, run.lastError?.headers ?? {}),
    ])
  }

  function endRun(
    { claim, attempts, attemptsMade }: Run,
    by: 'complete' | 'claim',
    status: TerminalStatus,
    error: JobError | null,
    fields: ScriptArgument[],
  ): Promise<RunOutcome> {
    return end(claim, by, status, error, formatLog(attempts), [...fields, 'attempts', attemptsMade])
  }

  /** A result must not be lost to an absent Redis: there is no giving up but the end of the process. */
  async function end(
    { subject, token }: { subject: SettleSubject; token: string },
    by: 'complete' | 'claim',
    status: TerminalStatus,
    error: JobError | null,
    attempts: string,
    fields: ScriptArgument[],
  ): Promise<RunOutcome> {
    const settle = () => deps.settle.settle(subject, by, token, status, error, attempts, fields)
    const result = await persist(settle, () => false)
    deps.afterSettle(subject, result)
    return result.kind === 'settled' ? { kind: 'settled', status } : { kind: 'dropped', why: result.kind }
  }

  /** Fails a job whose record can't be opened. */
  function endUnreadable(
    claim: { subject: SettleSubject; token: string },
    error: JobError,
  ): Promise<RunOutcome> {
    return end(claim, 'claim', 'failed', error, '', [])
  }

  /** Ends a job that was over before a worker could claim it. */
  async function endFree(id: string, status: 'cancelled' | 'expired'): Promise<RunOutcome> {
    const { result, subject } = await deps.settle.free(id, status)
    if (subject) deps.afterSettle(subject, result)
    return result.kind === 'settled' ? { kind: 'settled', status } : { kind: 'dropped', why: result.kind }
  }

  /** The job was stopped from outside. */
  async function stop(run: Run, reason: StopReason): Promise<RunOutcome> {
    if (reason === 'lost') return { kind: 'dropped', why: 'lost' }
    if (reason !== 'drained') return endClaim(run, reason, endError(reason))
    // As after any other loss of its worker: a call that may be on the bill is not made again against the client's word.
    const last = run.attempts.at(-1)
    if (last?.outcome === 'aborted' && last.possibly_billed && run.claim.meta.onCrash === 'fail') {
      return endClaim(run, 'failed', workerLostError(1))
    }
    const fields = standing(run)
    const givenUpAt = performance.now() + HAND_BACK_MS
    const handBack = () => claims.snooze(run.claim, 0, 'waiting', fields)
    const result = await persist(handBack, () => performance.now() > givenUpAt)
    if (result.kind !== 'snoozed') return letGo(run, result.kind)
    deps.afterSnooze(result.tenantsWaiting)
    return { kind: 'dropped', why: 'drained' }
  }

  /** A script said that this claim no longer stands, or that the job is to be cancelled. */
  async function letGo(run: Run, why: 'fenced' | 'cancelling'): Promise<RunOutcome> {
    if (why === 'cancelling') return endClaim(run, 'cancelled', endError('cancelled'))
    return { kind: 'dropped', why }
  }

  return { complete, endClaim, endBroken, endUnreadable, endFree, stop, letGo }
}

export type Ending = ReturnType<typeof createEnding>
