import type { Claims } from '../shared/claims.ts'
import type { DeploymentState, Grant } from '../shared/deployment-state.ts'
import type { Logger } from '../shared/log.ts'
import type { JobError } from '../shared/schemas/job.ts'
import type { Sealer } from '../shared/seal.ts'
import {
  endError,
  type Settle,
  type SettleResult,
  type SettleSubject,
  type TerminalStatus,
} from '../shared/settle.ts'
import { persist } from './persist.ts'
import type { ProviderReply } from './providers/provider.ts'
import { takeDirty, type Run } from './run.ts'
import type { StopReason } from './running.ts'

/** How one queue entry ended. `dropped`: there was nothing to do, or somebody else does it. */
export type RunOutcome =
  | { kind: 'settled'; status: TerminalStatus }
  | { kind: 'snoozed'; waitMs: number }
  | { kind: 'dropped'; why: string }

/** All the ways out of a run that end the job, or leave it to others. */
export function createEnding(deps: {
  claims: Claims
  settle: Settle
  state: DeploymentState
  sealer: Sealer
  log: Logger
  /** Follows every end, possibly twice: announce it, let the next job in. Never throws. */
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  afterSnooze: (tenantsWaiting: number) => void
}) {
  const { claims, state, log } = deps

  /** The provider answered. */
  async function complete(run: Run, grant: Grant, reply: ProviderReply): Promise<RunOutcome> {
    const { id, subject, plan } = run.claim
    const out = deps.sealer.seal({ tenant: subject.tenant, kind: 'job', id, field: 'out' }, reply.body)
    run.dirty.push('out', out, 'status_code', reply.status)
    if (reply.requestId) run.dirty.push('request_id', reply.requestId)
    if (reply.usage) run.dirty.push('usage', JSON.stringify(reply.usage))
    const counted = state
      .succeed(plan, grant, reply.usage?.total_tokens ?? null)
      .catch((error: unknown) =>
        log.warn({ err: error, job_id: id }, 'Usage of a deployment could not be noted'),
      )
    const [outcome] = await Promise.all([endClaim(run, 'completed', null, 'complete'), counted])
    return outcome
  }

  /** Ends a claimed job; a failed one carries the provider's last answer beside the error. */
  function endClaim(
    run: Run,
    status: TerminalStatus,
    error: JobError | null,
    by: 'complete' | 'claim' = 'claim',
  ): Promise<RunOutcome> {
    const { subject, token, id } = run.claim
    const upstream = status === 'failed' ? run.lastError : null
    if (upstream?.status) {
      const body = JSON.stringify({ error })
      const out = deps.sealer.seal({ tenant: subject.tenant, kind: 'job', id, field: 'out' }, body)
      run.dirty.push('out', out, 'status_code', upstream.status)
    }
    return end(subject, token, status, error, [...run.dirty, 'attempts', run.attemptsMade], by)
  }

  async function end(
    subject: SettleSubject,
    token: string,
    status: TerminalStatus,
    error: JobError | null,
    fields: (string | number | Buffer)[],
    by: 'complete' | 'claim' = 'claim',
  ): Promise<RunOutcome> {
    // A result must not be lost to an absent Redis: there is no giving up but the end of the process.
    const settle = () => deps.settle.settle(subject, by, token, status, error, fields)
    const result = await persist(settle, () => false)
    deps.afterSettle(subject, result)
    return result.kind === 'settled' ? { kind: 'settled', status } : { kind: 'dropped', why: result.kind }
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
    const result = await claims.snooze(run.claim, 0, 'waiting', takeDirty(run))
    if (result.kind !== 'snoozed') return letGo(run, result.kind)
    deps.afterSnooze(result.tenantsWaiting)
    return { kind: 'dropped', why: 'drained' }
  }

  /** A script said that this claim no longer stands, or that the job is to be cancelled. */
  async function letGo(run: Run, why: 'fenced' | 'cancelling'): Promise<RunOutcome> {
    if (why === 'cancelling') return endClaim(run, 'cancelled', endError('cancelled'))
    return { kind: 'dropped', why }
  }

  return { complete, endClaim, end, endFree, stop, letGo }
}

export type Ending = ReturnType<typeof createEnding>
