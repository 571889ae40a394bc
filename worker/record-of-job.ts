import type { Claim, Claims } from '../shared/jobs/claims.ts'
import { packedFrom } from '../shared/compression.ts'
import { formatLog } from '../shared/jobs/job-record.ts'
import { formatAnswer, formatTokens } from '../shared/jobs/record-texts.ts'
import type { JobError } from '../shared/schemas/job.ts'
import type { ScriptArgument } from '../shared/scripts.ts'
import type { Settle, SettleResult, SettleSubject, TerminalStatus } from '../shared/jobs/settle.ts'
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
        const fields = ['log', formatLog(attempts), 'attempts', run.attemptsMade + 1]
        if (progress) fields.push('run', JSON.stringify(progress))
        return claims.start(claim, fields)
      },

      async snooze(run, waitMs, state) {
        const result = await claims.snooze(claim, waitMs, state, standing(run))
        if (result.kind === 'snoozed') deps.afterSnooze(result.tenantsWaiting)
        return result.kind
      },

      settle(run, how) {
        const fields = [...fieldsOf(claim, run, how), 'attempts', run.attemptsMade]
        const log = formatLog(run.attempts)
        if (how.kind === 'answered') return end(claim, 'complete', 'completed', null, log, fields)
        return end(claim, 'claim', how.kind === 'broken' ? 'failed' : how.status, how.error, log, fields)
      },
    }
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

  return { open, endUnreadable, endFree }
}

/** Where a claimed job stands, as record fields. */
function standing(run: Run): ScriptArgument[] {
  const { attempts, attemptsMade } = run
  return [
    'log', formatLog(attempts), 'attempts', attemptsMade, 'run', JSON.stringify(restingProgress(run)),
  ] // oxfmt-ignore
}

/** What the job ended with, as record fields; a failed one carries the provider's last answer beside the error. */
function fieldsOf({ sealed, meta }: Claim, run: Run, end: RunEnd): ScriptArgument[] {
  const packFrom = packedFrom(meta.mode)
  if (end.kind === 'answered') {
    const { reply, pieces } = end
    return [
      ...replyFields(reply, sealed.seal('out', reply.body, packFrom), pieces),
      ...answerFields(run, reply.headers),
    ]
  }
  const headers = run.lastError?.headers ?? {}
  if (end.kind === 'broken') {
    const out = sealed.seal('out', end.partial, packFrom)
    return ['out', out, 'status_code', 200, ...answerFields(run, headers)]
  }
  if (end.status !== 'failed') return answerFields(run, {})
  const fields = answerFields(run, headers)
  if (!run.lastError?.status) return fields
  const out = sealed.seal('out', JSON.stringify({ error: end.error }))
  return ['out', out, 'status_code', run.lastError.status, ...fields]
}

function replyFields(reply: ProviderReply, out: Buffer, pieces: number | undefined): ScriptArgument[] {
  const fields: ScriptArgument[] = ['out', out, 'status_code', reply.status]
  if (reply.requestId) fields.push('request_id', reply.requestId)
  if (pieces !== undefined) fields.push('pieces', pieces)
  if (reply.usage) fields.push('usage', formatTokens(reply.usage))
  if (reply.warnings && reply.warnings.length > 0) fields.push('warned', JSON.stringify(reply.warnings))
  return fields
}

/** What the answer's headers tell, as record fields: who answered after how many tries, at what cost. */
function answerFields(run: Run, headers: Record<string, string>): ScriptArgument[] {
  const facts = answerFacts(run, headers)
  if (!facts) return []
  const fields: ScriptArgument[] = ['answer', formatAnswer(facts)]
  const cost = costOf(run.attempts)
  if (cost !== null) fields.push('cost', cost)
  return fields
}
