import type { Claim, Progress } from '../shared/jobs/claims.ts'
import type { JobMeta } from '../shared/jobs/job-record.ts'
import type { Attempt, JobError, QueueState } from '../shared/schemas/job.ts'
import type { TerminalStatus } from '../shared/jobs/settle.ts'
import type { ProviderReply } from './providers/provider.ts'
import type { Run } from './run.ts'
import type { Remains, RunStream } from './streaming.ts'

/** What a run works on: a job, or a line of a batch. */
export type Work = Pick<
  Claim,
  'id' | 'plan' | 'bundles' | 'body' | 'attempts' | 'attemptsMade' | 'progress' | 'crashes'
> & { meta: Pick<JobMeta, 'endpoint' | 'onCrash' | 'trace'> }

/** How a run ends its work. */
export type RunEnd =
  /** The provider answered; `pieces`: how many there are in the stream of a streamed answer. */
  | { kind: 'answered'; reply: ProviderReply; pieces: number | undefined }
  /** The answer broke off after a part of it was passed on: that part is the result. */
  | { kind: 'broken'; partial: Buffer; error: JobError }
  | { kind: 'ended'; status: Exclude<TerminalStatus, 'completed'>; error: JobError }

/** How one piece of work left this process. `dropped`: there was nothing to do, or somebody else does it. */
export type RunOutcome =
  | { kind: 'settled'; status: TerminalStatus }
  | { kind: 'snoozed'; waitMs: number }
  | { kind: 'dropped'; why: string }

/** `over_budget`: what it may cost is more than the day has left. Jobs are asked that when they are submitted. */
export type StartWord = 'started' | 'fenced' | 'cancelling' | 'over_budget'

/**
 * What a run writes down, so that it goes on after any crash and ends once. `fenced`: another claim has the work now, or it
 * has ended; `cancelling`: it is to be cancelled.
 */
export type RunRecord = {
  /** Where a streamed answer goes; null when it is wanted in one piece. */
  stream: RunStream | null
  /** What is left of an answer that an earlier claim had begun to pass on. Asked only where there is a stream. */
  remains: () => Promise<Remains | null>
  /**
   * Notes that a call is about to be made. Only 'started' allows it.
   * @param attempts All calls so far, this one at the end.
   * @param progress Null: it is what the first call of a plan makes it.
   */
  start: (run: Run, attempts: readonly Attempt[], progress: Progress | null) => Promise<StartWord>
  /** Puts the work back for so long, without using an attempt. */
  snooze: (run: Run, waitMs: number, state: QueueState) => Promise<'snoozed' | 'fenced' | 'cancelling'>
  /** Ends the work, once. A result must not be lost to an absent Redis: it tries until the end of the process. */
  settle: (run: Run, end: RunEnd) => Promise<RunOutcome>
}
