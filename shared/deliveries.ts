import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { z } from 'zod'
import type { DeliveryQueue, DueDelivery } from './delivery-queue.ts'
import type { Keys } from './keys.ts'
import { createScript } from './scripts.ts'
import type { SealPlace, Sealer } from './seal.ts'

// An accepted job's record is kept at least this long, also with `result_ttl: 0`: who waits for it is about to read it.
const ACCEPTED_KEPT_MS_MIN = 60_000
const LOOK_AGAIN_MS = 10_000
const AT_ONCE_MAX = 200
const ANNOUNCE_AGAIN_MS = 60_000

/** One try of a delivery. Never the receiver's answer, whose body could be read back through here. */
export const DeliveryAttempt = z.object({
  /** 1-based. */
  number: z.number().int(),
  /** Unix milliseconds. */
  started_at: z.number(),
  /** Milliseconds until the answer; missing while the try runs, or when its worker died. */
  duration_ms: z.number().optional(),
  status_code: z.number().nullish(),
  /** Why no answer came, such as `timeout_total`. */
  error: z.string().nullish(),
})
export type DeliveryAttempt = z.infer<typeof DeliveryAttempt>

/** Where an event goes and what signs it. Sealed at rest. */
export const DeliveryHook = z.object({ url: z.string(), secret: z.string() })
export type DeliveryHook = z.infer<typeof DeliveryHook>

/** `gone`: the receiver answered 410. All but `pending` are final. */
export type DeliveryState = 'pending' | 'delivered' | 'exhausted' | 'gone'

export type DeliveryInput = {
  id: string
  /** The job or batch that it is about. */
  subjectId: string
  /** News of what goes on, of which there is no announcement. */
  isNews?: boolean
  tenant: string
  eventId: string
  type: string
  /** The exact text that is signed and sent, on every try. */
  event: string
  hook: DeliveryHook
  /** How long a job is kept after the event was accepted, in milliseconds; a batch's record hangs on none. */
  resultTtlMs?: number
}

/** One try, taken by one worker. */
export type DeliveryClaim = {
  id: string
  token: string
  /** Number of this try, 1-based. */
  number: number
  startedMs: number
  tenant: string
  subjectId: string
  eventId: string
  sealed: { event: Buffer; hook: Buffer }
}

export type ClaimResult = { kind: 'claimed'; claim: DeliveryClaim } | { kind: 'early' | 'ended' | 'gone' }

/** What follows a try. */
export type DeliveryOutcome =
  | { state: 'pending'; waitMs: number }
  | { state: 'delivered' | 'exhausted' | 'gone' }

/**
 * The record store of webhook deliveries. A record is written where the announcement of an ended job or batch is taken away,
 * waits in one sorted set between its tries, and is kept for a while after its end. Event, URL and secret are sealed; URL, secret
 * and the event are erased when it was accepted.
 */
export function createDeliveries(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  queue: DeliveryQueue
  /** How long one try may take in all, in milliseconds; then another worker may take it. */
  leaseMs: number
  /** How long a record is kept after its end, and a job while its delivery is still tried. */
  retentionMs: number
  /** Wait before the first try. */
  firstWaitMs: number
  /** After how long an entry that no worker took is made anew. */
  lookAgainMs?: number
}) {
  const { redis, keys, sealer, queue, lookAgainMs = LOOK_AGAIN_MS } = deps
  const createDelivery = createScript(redis, 'create-delivery')
  const claimDelivery = createScript(redis, 'claim-delivery')
  const finishDelivery = createScript(redis, 'finish-delivery')
  const returnDelivery = createScript(redis, 'return-delivery')
  const takeDue = createScript(redis, 'take-due-deliveries')

  /**
   * Makes the delivery of an announced end, or of news, and enqueues its first try. Twice, or by two at once: one delivery.
   * @returns false when the end was announced before.
   */
  async function create(input: DeliveryInput): Promise<boolean> {
    const { id, tenant, subjectId, resultTtlMs = 0 } = input
    const { firstWaitMs } = deps
    const reply = await createDelivery(
      [keys.delivery(id), keys.deliveriesDue, keys.announce, recordOf(subjectId)],
      [
        '', input.isNews ? '' : subjectId, id, firstWaitMs, firstWaitMs === 0 ? lookAgainMs : firstWaitMs,
        'tenant', tenant, 'subject', subjectId, 'event_id', input.eventId, 'type', input.type, 'result_ttl', resultTtlMs,
        'event', sealer.seal(place(tenant, id, 'event'), input.event),
        'hook', sealer.seal(place(tenant, id, 'hook'), JSON.stringify(input.hook)),
      ], // oxfmt-ignore
    )
    const isNew = String(reply) === 'created'
    // From here on a failure delays the first try: the sweeper enqueues what is due.
    if (isNew && firstWaitMs === 0) await queue.add([{ id, attempt: 1 }])
    return isNew
  }

  /** Takes away the announcement of an end that nobody asked to be told of, and what the record knew of its webhook. */
  async function drop(subjectId: string): Promise<void> {
    const none = keys.delivery('none')
    await createDelivery(
      [none, keys.deliveriesDue, keys.announce, recordOf(subjectId)],
      ['', subjectId, '', 0, 0],
    )
  }

  function recordOf(subjectId: string): string {
    return isBatchId(subjectId) ? keys.batch(subjectId) : keys.job(subjectId)
  }

  /** Leaves an announcement that can't be made now for later, so that it does not stand before the others. */
  async function putOff(subjectId: string): Promise<void> {
    await redis.zadd(keys.announce, 'XX', Date.now() + ANNOUNCE_AGAIN_MS, subjectId)
  }

  /** Takes a delivery for one try. `early`: another worker has it, or its time has not come. */
  async function claim(id: string): Promise<ClaimResult> {
    const token = randomBytes(12).toString('hex')
    const startedMs = Date.now()
    const reply = await claimDelivery([keys.delivery(id), keys.deliveriesDue], ['', id, token, deps.leaseMs])
    const [kind, number, tenant, subjectId, eventId, event, hook] = reply as [Buffer, number, ...Buffer[]] // see the script
    const said = kind.toString()
    if (said !== 'claimed') return { kind: said as 'early' | 'ended' | 'gone' }
    const sealed = { event: event ?? Buffer.alloc(0), hook: hook ?? Buffer.alloc(0) }
    const names = { tenant: String(tenant), subjectId: String(subjectId), eventId: String(eventId) }
    return { kind: 'claimed', claim: { id, token, number, startedMs, ...names, sealed } }
  }

  /** @throws {SealError} when its key is not configured here. */
  function open({ id, tenant, sealed }: DeliveryClaim): { event: string; hook: DeliveryHook } {
    const event = sealer.open(place(tenant, id, 'event'), sealed.event).toString()
    const hook = sealer.open(place(tenant, id, 'hook'), sealed.hook).toString()
    return { event, hook: DeliveryHook.parse(JSON.parse(hook)) }
  }

  /** Notes a try and what follows. `fenced`: it took longer than its lease, and another one counts. */
  async function finish(
    claimed: DeliveryClaim,
    attempt: DeliveryAttempt,
    outcome: DeliveryOutcome,
  ): Promise<'noted' | 'ended' | 'fenced'> {
    const waitMs = outcome.state === 'pending' ? Math.round(outcome.waitMs) : 0
    const keptRecord = keys.job(isBatchId(claimed.subjectId) ? 'none' : claimed.subjectId)
    const reply = await finishDelivery(
      [keys.delivery(claimed.id), keys.deliveriesDue, keptRecord, keys.due],
      [
        '', claimed.id, claimed.token, outcome.state, waitMs, deps.retentionMs, ACCEPTED_KEPT_MS_MIN,
        attempt.number, JSON.stringify(attempt),
      ], // oxfmt-ignore
    )
    return String(reply) as 'noted' | 'ended' | 'fenced' // see the script
  }

  /** Hands a claimed delivery back for `waitMs`, as if this try had never been begun. */
  async function putBack({ id, token }: DeliveryClaim, waitMs: number): Promise<void> {
    await returnDelivery([keys.delivery(id), keys.deliveriesDue], ['', id, token, Math.round(waitMs)])
  }

  /** Enqueues what is due, at most 200 at once. @returns how many. */
  async function feedDue(): Promise<number> {
    const reply = await takeDue([keys.deliveriesDue], ['', AT_ONCE_MAX, lookAgainMs, keys.delivery('')])
    const taken = reply as (Buffer | number)[] // pairs, see the script
    const due: DueDelivery[] = []
    for (let at = 0; at < taken.length; at += 2) {
      due.push({ id: String(taken[at]), attempt: Number(taken[at + 1]) })
    }
    await queue.add(due)
    return due.length
  }

  /** Reads how a tenant's delivery stands, without what it carries. Times are Unix milliseconds. */
  async function read(tenant: string, id: string) {
    const record = await redis.hgetall(keys.delivery(id))
    if (record.tenant !== tenant) return null
    const count = Number(record.attempts)
    const fields = Array.from({ length: count }, (_, index) => record[`a${index + 1}`])
    return {
      id,
      subjectId: record.subject ?? '',
      eventId: record.event_id ?? '',
      type: record.type ?? '',
      state: record.state as DeliveryState, // written by our scripts only
      nextAttemptMs: record.due === undefined ? null : Number(record.due),
      attempts: fields.flatMap((json) => (json ? [DeliveryAttempt.parse(JSON.parse(json))] : [])),
    }
  }

  return { create, drop, putOff, claim, open, finish, putBack, feedDue, read }
}

export type Deliveries = ReturnType<typeof createDeliveries>

/** Whether what an event is about is a batch; else it is a job. */
export function isBatchId(subjectId: string): boolean {
  return subjectId.startsWith('batch_')
}

function place(tenant: string, id: string, field: 'event' | 'hook'): SealPlace {
  return { tenant, kind: 'delivery', id, field }
}
