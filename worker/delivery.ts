import type { Deliveries, DeliveryClaim, DeliveryOutcome } from '../shared/deliveries.ts'
import type { DeliveryEntry } from '../shared/delivery-queue.ts'
import { SealError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import { signWebhook } from '../shared/signature.ts'
import { parseRetryAfterMs } from './backoff.ts'
import { OutboundError } from './outbound-error.ts'
import type { Outbound } from './outbound.ts'

const JITTER = 0.2
const CONNECT_MS_MAX = 10_000
// Tries whose worker died count as tries; this many more are made before it is taken that the delivery kills workers.
const LOST_TRIES_MAX = 3
/** What a receiver answers is thrown away; this only keeps a flood out. */
const RESPONSE_BYTES_MAX = 1024 * 1024
/** Tries under way at once in one worker. Apart from those of completions, so that a slow receiver takes none of them. */
export const WEBHOOK_SLOTS = 50
const TENANT_SLOTS = WEBHOOK_SLOTS / 2
const PUT_BACK_MS = 1_000

/** What came of one try. `error` says why no answer came. */
type Answer = { status: number; retryAfterMs: number | null } | { error: string }

/** What came of a queue entry. `skipped`: its time has not come, its tenant has enough slots, another worker has it, or it has ended. */
export type DeliveryResult = DeliveryOutcome | { state: 'skipped' }

/**
 * Makes the processor of the webhooks queue: one signed POST a run. Any 2xx is success, 410 ends the delivery, everything
 * else (redirects, which are never followed, included) is tried again by the schedule. At least once: a try whose worker
 * died is repeated under the same `webhook-id`. No tenant's receivers hold more than half of a worker's slots: what comes
 * above that is handed back for a second or two, and no try is counted.
 */
export function createDeliveryProcessor(deps: {
  deliveries: Deliveries
  /** The door out, with the policy for webhooks. */
  post: Outbound['post']
  /** Wait before each try, in seconds; its length is how many there are. */
  scheduleSeconds: readonly number[]
  timeoutMs: number
  /** How many slots of this process one tenant may hold; half of a worker's unless given. */
  tenantSlots?: number
  /** Uniform in [0, 1). */
  random: () => number
  log: Logger
}) {
  const { deliveries, scheduleSeconds, timeoutMs, tenantSlots = TENANT_SLOTS, log } = deps
  const inFlight = new Map<string, number>()

  async function send(claim: DeliveryClaim): Promise<Answer> {
    try {
      const { event, hook } = deliveries.open(claim)
      const timestampS = Math.floor(Date.now() / 1000)
      const { status, headers } = await deps.post({
        url: hook.url,
        headers: {
          'content-type': 'application/json',
          'user-agent': 'byok-gateway-webhooks',
          'webhook-id': claim.eventId,
          'webhook-timestamp': String(timestampS),
          'webhook-signature': signWebhook({
            secret: hook.secret,
            id: claim.eventId,
            timestampS,
            body: event,
          }),
          'webhook-attempt': String(claim.number),
        },
        body: event,
        timeouts: {
          connectMs: Math.min(timeoutMs, CONNECT_MS_MAX),
          firstByteMs: timeoutMs,
          idleMs: timeoutMs,
          totalMs: timeoutMs,
        },
        maxResponseBytes: RESPONSE_BYTES_MAX,
        signal: new AbortController().signal,
      })
      return { status, retryAfterMs: parseRetryAfterMs(headers, Date.now()) }
    } catch (error) {
      if (error instanceof OutboundError) return { error: error.kind }
      // Another worker may have the key: a rotation does not reach all of them at once.
      if (error instanceof SealError) return { error: error.code }
      // Counted as a try like any other, else it would come back for ever.
      log.error(
        { err: error, delivery_id: claim.id },
        'A webhook could not be sent because of a fault of ours',
      )
      return { error: 'internal_error' }
    }
  }

  async function makeTry(claim: DeliveryClaim): Promise<DeliveryOutcome> {
    const startedAt = performance.now()
    const isHopeless = claim.number > scheduleSeconds.length + LOST_TRIES_MAX
    const answer = isHopeless ? { error: 'worker_lost' } : await send(claim)
    const attempt = {
      number: claim.number,
      started_at: claim.startedMs,
      duration_ms: Math.round(performance.now() - startedAt),
      status_code: 'status' in answer ? answer.status : null,
      error: 'error' in answer ? answer.error : null,
    }
    const outcome = decideNext(answer, claim.number, scheduleSeconds, deps.random)
    await deliveries.finish(claim, attempt, outcome)
    log.info(
      { delivery_id: claim.id, subject_id: claim.subjectId, ...attempt, ...outcome },
      'A webhook was tried',
    )
    return outcome
  }

  return async ({ deliveryId }: DeliveryEntry): Promise<DeliveryResult> => {
    const claimed = await deliveries.claim(deliveryId)
    if (claimed.kind !== 'claimed') return { state: 'skipped' }
    const { claim } = claimed
    const { tenant } = claim
    const held = inFlight.get(tenant) ?? 0
    if (held >= tenantSlots) {
      await deliveries.putBack(claim, PUT_BACK_MS * (1 + deps.random()))
      return { state: 'skipped' }
    }
    inFlight.set(tenant, held + 1)
    try {
      return await makeTry(claim)
    } finally {
      const left = (inFlight.get(tenant) ?? 1) - 1
      if (left > 0) inFlight.set(tenant, left)
      else inFlight.delete(tenant)
    }
  }
}

/**
 * What follows a try.
 * @param number Of the try, 1-based.
 * @param scheduleSeconds Wait before each try; a `Retry-After` of 429 or 503 may double it at most, never shorten it.
 */
export function decideNext(
  answer: Answer,
  number: number,
  scheduleSeconds: readonly number[],
  random: () => number,
): DeliveryOutcome {
  const status = 'status' in answer ? answer.status : null
  if (status !== null && status >= 200 && status < 300) return { state: 'delivered' }
  if (status === 410) return { state: 'gone' }
  const seconds = scheduleSeconds[number]
  if (seconds === undefined) return { state: 'exhausted' }
  const stepMs = seconds * 1000
  const askedMs = 'retryAfterMs' in answer && (status === 429 || status === 503) ? answer.retryAfterMs : null
  if (askedMs !== null) return { state: 'pending', waitMs: Math.min(Math.max(askedMs, stepMs), 2 * stepMs) }
  return { state: 'pending', waitMs: stepMs * (1 + JITTER * (2 * random() - 1)) }
}
