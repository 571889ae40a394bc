import type { Redis } from 'ioredis'
import type { Ids } from '../ids.ts'
import { RECORD_BYTES } from './job-input.ts'
import { ENDED_FIELDS, type JobMeta } from './job-record.ts'
import { formatEnd, parseLog, parseMeta, type EndFacts } from './record-texts.ts'
import type { Keys } from '../keys.ts'
import type { JobError } from '../schemas/job.ts'
import { formatUsage, usedOf } from '../tenants/usage-news.ts'
import { createGatheredScript, type ScriptArgument } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

// A record that a waiting caller is about to read is kept at least this long, unless nothing is.
const RETENTION_MS_MIN = 60_000
const IDEMPOTENCY_MARGIN_MS = 86_400_000

// A completed job's prompt has done its duty; a job that ended otherwise keeps it for a later retry.
const LASTING = ['tenant', 'meta', 'hook', 'kept', 'asked', 'deleted']
const LASTING_UNLESS_COMPLETED = [...LASTING, 'req']

const ENDED_NAMES = ENDED_FIELDS.join(' ')

/** What a job ended with, as far as there is any of it; `out`: its sealed result. */
export type Ended = EndFacts & { out?: Buffer }

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
   */
  async function settle(
    subject: SettleSubject,
    by: 'complete' | 'claim' | 'free',
    token: string,
    status: TerminalStatus,
    error: JobError | null,
    log: string,
    { out, ...facts }: Ended = {},
  ): Promise<SettleResult> {
    const { id, tenant, owner, idem, meta } = subject
    const retentionMs = retention(subject, deps.resultRetentionMs)
    const write: ScriptArgument[] = ['end', formatEnd(facts, meta.model)]
    if (out) write.push('out', out)
    if (error) {
      write.push('error', sealer.seal({ tenant, kind: 'job', id, field: 'error' }, JSON.stringify(error)))
    }
    const lasting = status === 'completed' ? LASTING : LASTING_UNLESS_COMPLETED
    // The key outlives the result: a replay after that is told so, and never runs again.
    const idemMs = idem ? Math.max(deps.idempotencyRetentionMs, retentionMs + IDEMPOTENCY_MARGIN_MS) : ''
    const used = usedOf(facts.usage ?? null, facts.cost ?? null)
    const reply = await settleJob(
      [
        keys.job(id), keys.window, keys.due, keys.parked, keys.busy, keys.announce, keys.waiting(tenant, owner),
        keys.owners(tenant), keys.tenants, keys.idempotency(idem ?? 'none'), keys.endpointIndex(tenant), keys.usageNews,
      ], // oxfmt-ignore
      [
        '', id, tenant, owner, by, token, status, retentionMs, idemMs, keys.settledChannel, lasting.length, ...lasting,
        log, keys.accountPrefix, used.microUsd, formatUsage({ tenant, ...meta, status }, used), tells(meta),
        keys.replyPrefix, ENDED_NAMES, RECORD_BYTES, ...write,
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
    const [tenant, metaText, idem, hook, log] = await redis.hmgetBuffer(
      keys.job(id), 'tenant', 'meta', 'idem', 'hook', 'log',
    ) // oxfmt-ignore
    if (!tenant || !metaText) return { result: { kind: 'gone' }, subject: null }
    const meta = parseMeta(metaText.toString())
    const subject = {
      id,
      meta,
      tenant: tenant.toString(),
      owner: deps.ids.ownerId(tenant.toString(), meta.customer),
      resultTtlMs: meta.resultTtlMs,
      hasWebhook: Boolean(hook),
      idem: idem?.toString() ?? null,
    }
    const cost = costOf(log?.toString() ?? '', meta.model)
    const ended = cost === null ? {} : { cost }
    return { result: await settle(subject, 'free', '', status, endError(status), '', ended), subject }
  }

  return { settle, free }
}

export type Settle = ReturnType<typeof createSettle>

function retention({ resultTtlMs, hasWebhook }: SettleSubject, resultRetentionMs: number): number {
  if (hasWebhook) return Math.max(resultTtlMs, resultRetentionMs)
  return Math.max(resultTtlMs, Math.min(RETENTION_MS_MIN, resultRetentionMs))
}

// What was billed before the last worker put the job back, or died, is spent as well.
function costOf(log: string, model: string): number | null {
  const costs = parseLog(log, model).flatMap(({ cost }) => cost ?? [])
  return costs.length === 0 ? null : costs.reduce((sum, cost) => sum + cost, 0)
}

// Who calls and holds the line has the answer; everybody else's endpoints may be told.
function tells({ mode, endpoints }: JobMeta): '1' | '0' {
  return mode === 'async' && endpoints?.length !== 0 ? '1' : '0'
}
