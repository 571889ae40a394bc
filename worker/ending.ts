import type { JobError } from '../shared/schemas/job.ts'
import { endError, type TerminalStatus } from '../shared/jobs/settle.ts'
import { persist } from './persist.ts'
import type { ProviderReply } from './providers/provider.ts'
import { workerLostError, type Run } from './run.ts'
import type { RunOutcome } from './run-record.ts'
import type { StopReason } from './running.ts'

// A worker that ends can't wait long for Redis; what it can't hand back is found by its lease.
const HAND_BACK_MS = 3_000

/**
 * The provider answered.
 * @param pieces Of a streamed answer: how many there are in its stream.
 */
export function complete(run: Run, reply: ProviderReply, pieces?: number): Promise<RunOutcome> {
  return run.record.settle(run, { kind: 'answered', reply, pieces })
}

/** Ends a run without a result. */
export function endRun(
  run: Run,
  status: Exclude<TerminalStatus, 'completed'>,
  error: JobError,
): Promise<RunOutcome> {
  return run.record.settle(run, { kind: 'ended', status, error })
}

/** Ends a run whose answer broke off after a part of it was passed on: that part is its result. */
export function endBroken(run: Run, error: JobError, partial: Buffer | null): Promise<RunOutcome> {
  if (!partial) return endRun(run, 'failed', error)
  return run.record.settle(run, { kind: 'broken', error, partial })
}

/** The run was stopped from outside. */
export async function stop(run: Run, reason: StopReason): Promise<RunOutcome> {
  if (reason === 'lost') return { kind: 'dropped', why: 'lost' }
  if (reason !== 'drained') return endRun(run, reason, endError(reason))
  // As after any other loss of its worker: a call that may be on the bill is not made again against the client's word.
  const last = run.attempts.at(-1)
  if (last?.outcome === 'aborted' && last.possibly_billed && run.claim.meta.onCrash === 'fail') {
    return endRun(run, 'failed', workerLostError(1))
  }
  const givenUpAt = performance.now() + HAND_BACK_MS
  const handBack = () => run.record.snooze(run, 0, 'waiting')
  const said = await persist(handBack, () => performance.now() > givenUpAt)
  return said === 'snoozed' ? { kind: 'dropped', why: 'drained' } : letGo(run, said)
}

/** The record says that this claim no longer stands, or that its work is to be cancelled. */
export async function letGo(run: Run, why: 'fenced' | 'cancelling'): Promise<RunOutcome> {
  if (why === 'cancelling') return endRun(run, 'cancelled', endError('cancelled'))
  return { kind: 'dropped', why }
}
