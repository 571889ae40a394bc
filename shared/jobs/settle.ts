import type { Redis } from 'ioredis'
import type { Ids } from '../ids.ts'
import { parseLog, READ_FIELDS, type JobMeta } from './job-record.ts'
import { parseMeta } from './record-texts.ts'
import type { Keys } from '../keys.ts'
import type { JobError } from '../schemas/job.ts'
import { formatUsage, usedBy } from '../tenants/usage-news.ts'
import { createGatheredScript, type ScriptArgument } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

// A record that a waiting caller is about to read is kept at least this long, unless nothing is.
const RETENTION_MS_MIN = 60_000
const IDEMPOTENCY_MARGIN_MS = 86_400_000

// A completed job's prompt has done its duty; a job that ended otherwise keeps it for a later retry.
const ERASED = [
  'cred', 'token', 'plan', 'run', 'reserved', 'held', 'entry', 'caller', 'class', 'generation', 'queue_state', 'next_at',
  'claim', 'crashes', 'lasting',
] // oxfmt-ignore
const ERASED_WHEN_COMPLETED = [...ERASED, 'req']

const READ_NAMES = READ_FIELDS.join(' ')

export type TerminalStatus = 'completed' | 'failed' | 'cancelled' | 'expired'

/** What is known of a job that is to be settled; a worker has it from its claim. */
export type SettleSubject = {
  id: string
  tenant: string
  owner: string
  resultTtlMs: number
  hasWebhook: boolean
  /** Fingerprint of its idempotency key. */
  idem: string | null
  meta: JobMeta
}

export type SettleResult =
  /** `isTold`: somebody wants to hear of its end, which is to be announced. */
  | { kind: 'settled'; tenantsWaiting: number; isTold: boolean }
  | { kind: 'ended' | 'fenced' | 'held' | 'gone' }

const NEUTRAL_ENDS: Record<'cancelled' | 'expired', JobError> = {
  cancelled: {
    message: 'The job was cancelled.',
    type: 'invalid_request_error',
    param: null,
    code: 'job_cancelled',
  },
  expired: {
    message: 'The job did not finish before its deadline (expires_in).',
    type: 'timeout_error',
    param: null,
    code: 'job_expired',
  },
}

/** The error that a job which ended without a call's result carries. */
export function endError(status: 'cancelled' | 'expired'): JobError {
  return NEUTRAL_ENDS[status]
}

/** The one move of a job to a terminal state, for workers (with a claim) and for API and sweeper (without). */
export function createSettle(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  ids: Ids
  /** How long an async result with a webhook outlives its end at least, until it was delivered. */
  resultRetentionMs: number
  idempotencyRetentionMs: number
}) {
  const { redis, keys, sealer } = deps
  const settleJob = createGatheredScript(redis, 'settle-job')

  /**
   * Settles for a claim. `complete` is a provider's whole answer and counts from any claim; everything else needs the
   * current token.
   * @param log Attempts of this claim, as `formatLog` gives them.
   * @param fields Further record fields to write: sealed result, usage.
   */
  async function settle(
    subject: SettleSubject,
    by: 'complete' | 'claim' | 'free',
    token: string,
    status: TerminalStatus,
    error: JobError | null,
    log: string,
    fields: readonly ScriptArgument[],
  ): Promise<SettleResult> {
    const { id, tenant, owner, idem } = subject
    const retentionMs = retention(subject, deps.resultRetentionMs)
    const write: ScriptArgument[] = [...fields]
    const used = usedBy(fields)
    if (error) {
      write.push('error', sealer.seal({ tenant, kind: 'job', id, field: 'error' }, JSON.stringify(error)))
    }
    const erased = status === 'completed' ? ERASED_WHEN_COMPLETED : ERASED
    // The key outlives the result: a replay after that is told so, and never runs again.
    const idemMs = idem ? Math.max(deps.idempotencyRetentionMs, retentionMs + IDEMPOTENCY_MARGIN_MS) : ''
    const reply = await settleJob(
      [
        keys.job(id), keys.window, keys.due, keys.parked, keys.busy, keys.announce, keys.waiting(tenant, owner),
        keys.owners(tenant), keys.tenants, keys.idempotency(idem ?? 'none'), keys.endpointIndex(tenant), keys.usageNews,
      ], // oxfmt-ignore
      [
        '', id, tenant, owner, by, token, status, retentionMs, idemMs, keys.settledChannel, erased.length, ...erased,
        log, keys.accountPrefix, used.microUsd, formatUsage({ tenant, ...subject.meta, status }, used), tells(subject.meta),
        keys.replyPrefix, READ_NAMES, ...write,
      ], // oxfmt-ignore
    )
    const [kind, tenantsWaiting = 0, isTold = 0] = reply as [Buffer, number?, number?] // see the script
    const said = kind.toString()
    if (said === 'settled') return { kind: 'settled', tenantsWaiting, isTold: isTold === 1 }
    return { kind: said as 'ended' | 'fenced' | 'held' | 'gone' }
  }

  /**
   * Settles a job that no live claim holds: cancelled or expired while it waited, or its worker is gone.
   * @returns the job as well, so that its end can be announced; null when there is no such record.
   */
  async function free(
    id: string,
    status: 'cancelled' | 'expired',
  ): Promise<{ result: SettleResult; subject: SettleSubject | null }> {
    const [tenant, owner, meta, idem, hook, log] = await redis.hmgetBuffer(
      keys.job(id), 'tenant', 'owner', 'meta', 'idem', 'hook', 'log',
    ) // oxfmt-ignore
    if (!tenant || !owner || !meta) return { result: { kind: 'gone' }, subject: null }
    const parsed = parseMeta(meta.toString())
    const subject = {
      id,
      meta: parsed,
      tenant: tenant.toString(),
      owner: owner.toString(),
      resultTtlMs: parsed.resultTtlMs,
      hasWebhook: Boolean(hook),
      idem: idem?.toString() ?? null,
    }
    const fields = costFields(log?.toString() ?? '')
    return { result: await settle(subject, 'free', '', status, endError(status), '', fields), subject }
  }

  return { settle, free }
}

export type Settle = ReturnType<typeof createSettle>

function retention({ resultTtlMs, hasWebhook }: SettleSubject, resultRetentionMs: number): number {
  if (hasWebhook) return Math.max(resultTtlMs, resultRetentionMs)
  return Math.max(resultTtlMs, Math.min(RETENTION_MS_MIN, resultRetentionMs))
}

// What was billed before the last worker put the job back, or died, is spent as well.
function costFields(log: string): ScriptArgument[] {
  const costs = parseLog(log).flatMap(({ cost }) => cost ?? [])
  return costs.length === 0 ? [] : ['cost', costs.reduce((sum, cost) => sum + cost, 0)]
}

// Who calls and holds the line has the answer; everybody else's endpoints may be told.
function tells({ mode, endpoints }: JobMeta): '1' | '0' {
  return mode === 'async' && endpoints?.length !== 0 ? '1' : '0'
}
