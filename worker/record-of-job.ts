import type { Claim, Claims } from '../shared/jobs/claims.ts'
import { packedFrom } from '../shared/compression.ts'
import { formatLog } from '../shared/jobs/record-texts.ts'
import type { JobError } from '../shared/schemas/job.ts'
import type { ScriptArgument } from '../shared/scripts.ts'
import type { Ended, Settle, SettleResult, SettleSubject, TerminalStatus } from '../shared/jobs/settle.ts'
import { persist } from './persist.ts'
import type { ProviderReply } from './providers/provider.ts'
import { answerFacts, costOf, restingProgress, type Run } from './run.ts'
import type { RunEnd, RunOutcome, RunRecord } from './run-record.ts'
import type { Hold } from './running.ts'
import type { Streaming } from './streaming.ts'

/** The records of jobs, as their runs write them; and the ends of jobs that can't run. */
export function createJobRecords(deps: {
  claims: Claims
  settle: Settle
  streaming: Streaming
  /** Follows every end, possibly twice: announce it, let the next job in. Never throws. */
  afterSettle: (subject: SettleSubject, result: SettleResult) => void
  afterSnooze: (tenantsWaiting: number) => void
}) {
  const { claims, streaming } = deps

  /** The record of a claimed job. */
  function open(claim: Claim, hold: Hold): RunRecord {
    return {
      stream: streaming.open(claim, hold),
      remains: () => streaming.remains(claim),

      start(run, attempts, progress) {
        const log = formatLog(attempts, claim.meta.model)
        const fields = ['log', log, 'attempts', run.attemptsMade + 1]
        if (progress) fields.push('run', JSON.stringify(progress))
        return claims.start(claim, fields)
      },

      async snooze(run, waitMs, state) {
        const result = await claims.snooze(claim, waitMs, state, standing(claim, run))
        if (result.kind === 'snoozed') deps.afterSnooze(result.tenantsWaiting)
        return result.kind
      },

      settle(run, how) {
        const ended = endedWith(claim, run, how)
        const log = formatLog(run.attempts, claim.meta.model)
        if (how.kind === 'answered') return end(claim, 'complete', 'completed', null, log, ended)
        return end(claim, 'claim', how.kind === 'broken' ? 'failed' : how.status, how.error, log, ended)
      },
    }
  }

  /** A result must not be lost to an absent Redis: there is no giving up but the end of the process. */
  async function end(
    { subject, token }: { subject: SettleSubject; token: string },
    by: 'complete' | 'claim',
    status: TerminalStatus,
    error: JobError | null,
    log: string,
    ended: Ended,
  ): Promise<RunOutcome> {
    const settle = () => deps.settle.settle(subject, by, token, status, error, log, ended)
    const result = await persist(settle, () => false)
    deps.afterSettle(subject, result)
    return result.kind === 'settled' ? { kind: 'settled', status } : { kind: 'dropped', why: result.kind }
  }

  /** Fails a job whose record can't be opened. */
  function endUnreadable(
    claim: { subject: SettleSubject; token: string },
    error: JobError,
  ): Promise<RunOutcome> {
    return end(claim, 'claim', 'failed', error, '', {})
  }

  /** Ends a job that was over before a worker could claim it. */
  async function endFree(id: string, status: 'cancelled' | 'expired'): Promise<RunOutcome> {
    const { result, subject } = await deps.settle.free(id, status)
    if (subject) deps.afterSettle(subject, result)
    return result.kind === 'settled' ? { kind: 'settled', status } : { kind: 'dropped', why: result.kind }
  }

  return { open, endUnreadable, endFree }
}

/** Where a claimed job stands, as record fields. */
function standing({ meta }: Claim, run: Run): ScriptArgument[] {
  const { attempts, attemptsMade } = run
  return [
    'log', formatLog(attempts, meta.model), 'attempts', attemptsMade, 'run', JSON.stringify(restingProgress(run)),
  ] // oxfmt-ignore
}

/** What the job ended with; a failed one carries the provider's last answer beside the error. */
function endedWith({ sealed, meta }: Claim, run: Run, end: RunEnd): Ended {
  const packFrom = packedFrom(meta.mode)
  if (end.kind === 'answered') {
    const { reply, pieces } = end
    const out = sealed.seal('out', reply.body, packFrom)
    return { out, ...replyFacts(reply, pieces), ...answered(run, reply.headers) }
  }
  const headers = run.lastError?.headers ?? {}
  if (end.kind === 'broken') {
    return { out: sealed.seal('out', end.partial, packFrom), statusCode: 200, ...answered(run, headers) }
  }
  if (end.status !== 'failed') return answered(run, {})
  const facts = answered(run, headers)
  if (!run.lastError?.status) return facts
  const out = sealed.seal('out', JSON.stringify({ error: end.error }))
  return { out, statusCode: run.lastError.status, ...facts }
}

function replyFacts(reply: ProviderReply, pieces: number | undefined): Ended {
  const { status, requestId, usage, warnings } = reply
  return {
    statusCode: status,
    ...(requestId && { requestId }),
    ...(pieces !== undefined && { pieces }),
    ...(usage && { usage }),
    ...(warnings?.length && { warnings }),
  }
}

/** What the answer's headers tell: who answered after how many tries, at what cost. */
function answered(run: Run, headers: Record<string, string>): Ended {
  const answer = answerFacts(run, headers)
  if (!answer) return {}
  const cost = costOf(run.attempts)
  return cost === null ? { answer } : { answer, cost }
}
