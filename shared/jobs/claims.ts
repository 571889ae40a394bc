import type { Redis } from 'ioredis'
import type { JobMeta } from './job-record.ts'
import { parseBundles, parsePlan } from './plan-text.ts'
import { parseLog, parseMeta } from './record-texts.ts'
import type { Keys } from '../keys.ts'
import { parseJsonLossless } from '../lossless-json.ts'
import type { FedJob } from './queues.ts'
import { randomPart } from '../random.ts'
import type { Attempt, QueueState } from '../schemas/job.ts'
import type { CredentialBundle, Plan } from '../schemas/plan.ts'
import { createGatheredScript, createScript, type ScriptArgument } from '../scripts.ts'
import type { RecordSealer, Sealer } from '../seal.ts'
import type { SettleSubject } from './settle.ts'
import type { WaitReason } from '../tracing.ts'

/** Where a job stands in its plan; kept in the record so that a snooze or a crash goes on where it was. */
export type Progress = {
  /** Model group that is being tried, and groups of outer fallback lists still to try after its own fallbacks, in order. */
  group: string
  pending: string[]
  visited: string[]
  hops: number
  /** Retries used in this group. */
  retries: number
  /** Calls that count against `max_attempts`. */
  counted: number
  /** Ids of deployments that failed in this job, and of those that can't be mended within it. */
  failed: string[]
  dead: string[]
  /** Deployment whose limits already hold a place for this job, and when, in milliseconds by Redis' clock. */
  slot: { id: string; at: number } | null
  /** Tokens of the largest context window that did not hold the prompt. */
  outgrown?: number
  /** A group that had nothing free and is to be waited for when all else failed. */
  waiting: Progress | null
  /** Why it was put back, and for how long; for the log. */
  waited?: { why: WaitReason; ms: number }
}

/** A job in a worker's hands. */
export type Claim = {
  id: string
  token: string
  subject: SettleSubject
  meta: JobMeta
  plan: Plan
  /** Null: the operator's, found in this worker's own config.yaml. */
  bundles: CredentialBundle[] | null
  body: Record<string, unknown>
  /** Seals what belongs to this job's record. */
  sealed: RecordSealer
  attempts: Attempt[]
  attemptsMade: number
  progress: Progress | null
  /** An earlier claim has passed on a part of the answer. */
  hasStreamed: boolean
  /** Claims that ended without a word: their worker died. */
  crashes: number
  /** Milliseconds, by this process's clock. */
  deadline: number
}

export type ClaimResult =
  | { kind: 'claimed'; claim: Claim }
  | { kind: 'gone' | 'ended' | 'stale' | 'held' | 'cancelled' | 'expired' }
  /** Claimed, but a sealed field does not open: the job can't run. */
  | { kind: 'unreadable'; id: string; token: string; subject: SettleSubject; error: unknown }

const CLAIM_FIELDS = [
  'tenant', 'owner', 'meta', 'plan', 'req', 'cred', 'idem', 'hook', 'deadline', 'attempts', 'run', 'log', 'streamed',
] as const // oxfmt-ignore

/** The record store as a worker uses it: claim, note attempts, renew, snooze. Settling is in settle.ts. */
export function createClaims(deps: { redis: Redis; keys: Keys; sealer: Sealer; leaseMs: number }) {
  const { redis, keys, sealer, leaseMs } = deps
  const claimJob = createGatheredScript(redis, 'claim-job')
  const startAttempt = createGatheredScript(redis, 'start-attempt')
  const renewLeases = createScript(redis, 'renew-leases')
  const snoozeJob = createScript(redis, 'snooze-job')

  /** Takes a job for this worker, unless it ended, waits for nobody, or another live claim holds it. */
  async function claim({ id, generation }: FedJob): Promise<ClaimResult> {
    const token = randomPart(12).toString('base64url')
    const args = ['', id, generation, token, leaseMs, ...CLAIM_FIELDS]
    const reply = await claimJob([keys.job(id), keys.window], args)
    const [kind, claimedAt, crashes, ...fields] = reply as [Buffer, number, number, ...(Buffer | null)[]] // see the script
    const said = kind.toString()
    if (said !== 'claimed')
      return { kind: said as 'gone' | 'ended' | 'stale' | 'held' | 'cancelled' | 'expired' }
    const text = (name: (typeof CLAIM_FIELDS)[number]) =>
      fields[CLAIM_FIELDS.indexOf(name)]?.toString() ?? null
    const tenant = text('tenant') ?? ''
    // Plan, meta, bundles and body were checked by the API that wrote them, the rest by our own scripts.
    const meta = parseMeta(text('meta') ?? '[0]')
    const owner = text('owner') ?? ''
    const subject: SettleSubject = {
      id,
      meta,
      tenant,
      owner,
      resultTtlMs: meta.resultTtlMs,
      hasWebhook: text('hook') !== null,
      idem: text('idem'),
    }
    const sealed = sealer.record({ tenant, kind: 'job', id })
    const open = (field: 'req' | 'cred') => {
      const envelope = fields[CLAIM_FIELDS.indexOf(field)]
      return envelope ? parseJsonLossless(sealed.open(field, envelope).toString()) : null
    }
    const run = text('run')
    try {
      const bundles = open('cred') as unknown[] | null
      const claimed: Claim = {
        id,
        token,
        subject,
        meta,
        plan: parsePlan(text('plan') ?? '[0]', { owner, model: meta.model }),
        bundles: bundles && parseBundles(bundles),
        body: open('req') as Record<string, unknown>,
        sealed,
        attempts: parseLog(text('log') ?? '', meta.model),
        attemptsMade: Number(text('attempts') ?? 0),
        progress: run === null ? null : (JSON.parse(run) as Progress),
        hasStreamed: text('streamed') !== null,
        crashes,
        deadline: Date.now() + Number(text('deadline')) - claimedAt,
      }
      return { kind: 'claimed', claim: claimed }
    } catch (error) {
      return { kind: 'unreadable', id, token, subject, error }
    }
  }

  /** Notes that a call is about to be made. Only 'started' allows it. */
  async function start(
    { id, token }: Claim,
    fields: readonly ScriptArgument[],
  ): Promise<'started' | 'fenced' | 'cancelling'> {
    const reply = await startAttempt([keys.job(id)], [token, ...fields])
    return String(reply) as 'started' | 'fenced' | 'cancelling' // see the script
  }

  /** Renews the leases of many jobs at once; answers only those that must be let go or cancelled. */
  async function renew(
    held: readonly { id: string; token: string }[],
  ): Promise<Map<string, 'lost' | 'cancelling'>> {
    const pairs = held.flatMap(({ id, token }) => [id, token])
    const reply = await renewLeases([keys.window], ['', leaseMs, keys.jobPrefix, ...pairs])
    const flat = (reply as Buffer[]).map(String) // pairs of id and word, see the script
    const words = new Map<string, 'lost' | 'cancelling'>()
    for (let at = 0; at < flat.length; at += 2)
      words.set(flat[at] ?? '', flat[at + 1] as 'lost' | 'cancelling')
    return words
  }

  /** Puts a job back for `waitMs` without ending it; its deadline still holds. */
  async function snooze(
    { id, token, subject }: Claim,
    waitMs: number,
    state: QueueState,
    fields: readonly ScriptArgument[],
  ): Promise<{ kind: 'snoozed'; tenantsWaiting: number } | { kind: 'fenced' | 'cancelling' }> {
    const reply = await snoozeJob(
      [keys.job(id), keys.window, keys.parked, keys.busy, keys.tenants],
      ['', id, subject.tenant, token, Math.max(0, Math.ceil(waitMs)), state, ...fields],
    )
    const [kind, tenantsWaiting = 0] = reply as [Buffer, number?] // see the script
    const said = kind.toString()
    return said === 'snoozed' ? { kind: said, tenantsWaiting } : { kind: said as 'fenced' | 'cancelling' }
  }

  return { claim, start, renew, snooze }
}

export type Claims = ReturnType<typeof createClaims>
