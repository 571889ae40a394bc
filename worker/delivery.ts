import type {
  Deliveries,
  DeliveryClaim,
  DeliveryOutcome,
  Finished,
  TargetVerdict,
} from '../shared/webhooks/deliveries.ts'
import type { DeliveryEntry } from '../shared/webhooks/delivery-queue.ts'
import type { DeliveryAttempt } from '../shared/webhooks/delivery-record.ts'
import { isEndpointTarget } from '../shared/webhooks/delivery-targets.ts'
import { NO_TRACING, type Tracing } from '../shared/tracing.ts'
import { SealError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import { signWebhook } from '../shared/webhooks/signature.ts'
import type { EndpointHook, WebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'
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
export const WEBHOOK_SLOTS = 100
const PUT_BACK_MS = 1_000
/** The longest that a receiver's `Retry-After` keeps all other deliveries from it. */
const REST_MS_MAX = 300_000

/** What came of one try. `error` says why no answer came; `isOurs`: it says nothing of the receiver. */
type Answer = { status: number; retryAfterMs: number | null } | { error: string; isOurs: boolean }

/** Where a try goes and what signs it, or why there is none to make. */
type Address = ({ kind: 'open' } & EndpointHook) | { kind: 'disabled' | 'gone' }

/** What came of a queue entry. `skipped`: its time has not come, its tenant has enough slots, another worker has it, or it has ended. */
export type DeliveryResult = DeliveryOutcome | { state: 'skipped' }

/**
 * Makes the processor of the webhooks queue: one signed POST a run. Any 2xx is success, 410 ends the delivery and disables
 * its endpoint, everything else (redirects, which are never followed, included) is tried again by the schedule. At least
 * once: a try whose worker died is repeated under the same `webhook-id`. A tenant takes no more slots of a worker than it
 * leaves free, so that whatever hangs, there is one for somebody new: what comes above that is handed back for a second or
 * two, and no try is counted.
 */
export function createDeliveryProcessor(deps: {
  deliveries: Deliveries
  endpoints: Pick<WebhookEndpoints, 'hook' | 'disable'>
  /** The door out, with the policy for webhooks. */
  post: Outbound['post']
  /** Wait before each try, in seconds; its length is how many there are. */
  scheduleSeconds: readonly number[]
  timeoutMs: number
  /** After how long with nothing but failures an endpoint is disabled. */
  disableMs: number
  /** Of this process. */
  slots?: number
  /** Uniform in [0, 1). */
  random: () => number
  log: Logger
  tracing?: Tracing
}) {
  const { deliveries, endpoints, scheduleSeconds, timeoutMs, slots = WEBHOOK_SLOTS, log } = deps
  const { tracing = NO_TRACING } = deps
  const held = new Map<string, number>()
  let heldByAll = 0

  async function post(claim: DeliveryClaim, event: string, hook: EndpointHook): Promise<Answer> {
    const timestampS = Math.floor(Date.now() / 1000)
    const signed = { id: claim.eventId, timestampS, body: event }
    const { status, headers } = await deps.post({
      url: hook.url,
      headers: {
        ...hook.headers,
        'content-type': 'application/json',
        'user-agent': 'byok-gateway-webhooks',
        'webhook-id': claim.eventId,
        'webhook-timestamp': String(timestampS),
        'webhook-signature': hook.secrets.map((secret) => signWebhook({ secret, ...signed })).join(' '),
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
  }

  async function send(claim: DeliveryClaim, endpoint: Promise<Address> | null): Promise<Answer | 'disabled'> {
    try {
      const { event, hook } = deliveries.open(claim)
      const address: Address | null = endpoint ? await endpoint : hook && ownAddress(hook)
      if (event === null || !address) return { error: 'event_erased', isOurs: true }
      return address.kind === 'open' ? await post(claim, event, address) : 'disabled'
    } catch (error) {
      if (error instanceof OutboundError) return { error: error.kind, isOurs: false }
      // Another worker may have the key: a rotation does not reach all of them at once.
      if (error instanceof SealError) return { error: error.code, isOurs: true }
      // Counted as a try like any other, else it would come back for ever.
      const message = 'A webhook could not be sent because of a fault of ours'
      log.error({ err: error, delivery_id: claim.id }, message)
      return { error: 'internal_error', isOurs: true }
    }
  }

  async function makeTry(claim: DeliveryClaim, endpoint: Promise<Address> | null): Promise<DeliveryOutcome> {
    const startedAt = performance.now()
    const isHopeless = claim.numberOfRound > scheduleSeconds.length + LOST_TRIES_MAX
    const sent = isHopeless ? { error: 'worker_lost', isOurs: true } : await send(claim, endpoint)
    const answer = sent === 'disabled' ? { error: 'endpoint_disabled', isOurs: true } : sent
    const attempt = {
      number: claim.number,
      startedMs: claim.startedMs,
      durationMs: Math.round(performance.now() - startedAt),
      statusCode: 'status' in answer ? answer.status : null,
      error: 'error' in answer ? answer.error : null,
    }
    const schedule = claim.isTest ? [] : scheduleSeconds
    const outcome: DeliveryOutcome =
      sent === 'disabled'
        ? { state: 'disabled' }
        : decideNext(answer, claim.numberOfRound, schedule, deps.random)
    const finished = await deliveries.finish(claim, attempt, outcome, verdictOn(answer))
    tell(claim, attempt, outcome)
    await disableIfDue(claim, outcome, finished)
    return outcome
  }

  /** A line of the log, and a span where what it tells of is traced. */
  function tell(
    { id, subjectId, eventId, type, targetId, trace }: DeliveryClaim,
    attempt: DeliveryAttempt & { durationMs: number },
    outcome: DeliveryOutcome,
  ): void {
    const traceId = tracing.tried({ trace, deliveryId: id, type, ...attempt })
    log.info(
      {
        delivery_id: id,
        subject_id: subjectId,
        event_id: eventId,
        event_type: type,
        endpoint_id: isEndpointTarget(targetId) ? targetId : undefined,
        try: attempt.number,
        status: attempt.statusCode ?? undefined,
        error: attempt.error ?? undefined,
        ms: attempt.durationMs,
        state: outcome.state,
        next_at: outcome.state === 'pending' ? toTime(Date.now() + outcome.waitMs) : undefined,
        trace_id: traceId ?? undefined,
      },
      'A webhook was tried',
    )
  }

  /** An endpoint that answers 410, or for days nothing but failures, is sent to no more. */
  async function disableIfDue(
    { targetId }: DeliveryClaim,
    { state }: DeliveryOutcome,
    { failingMs }: Finished,
  ): Promise<void> {
    const isFailing = failingMs >= deps.disableMs
    if (!isEndpointTarget(targetId) || (state !== 'gone' && !isFailing)) return
    await endpoints.disable(targetId, state === 'gone' ? 'gone' : 'failing')
    await deliveries.lookAt(targetId)
  }

  return async (entry: DeliveryEntry): Promise<DeliveryResult> => {
    const { deliveryId, tenant, targetId } = entry
    const own = held.get(tenant) ?? 0
    if (own >= slots - heldByAll) {
      await deliveries.putBack(entry, PUT_BACK_MS * (1 + deps.random()))
      return { state: 'skipped' }
    }
    held.set(tenant, own + 1)
    heldByAll += 1
    try {
      // Asked for beside the claim: one way to Redis and back for both.
      const endpoint = isEndpointTarget(targetId) ? endpoints.hook(tenant, targetId) : null
      endpoint?.catch(() => {})
      const claimed = await deliveries.claim(deliveryId)
      return claimed.kind === 'claimed' ? await makeTry(claimed.claim, endpoint) : { state: 'skipped' }
    } finally {
      heldByAll -= 1
      const left = (held.get(tenant) ?? 1) - 1
      if (left > 0) held.set(tenant, left)
      else held.delete(tenant)
    }
  }
}

function toTime(unixMs: number): string {
  return new Date(unixMs).toISOString()
}

function ownAddress({ url, secret }: { url: string; secret: string }): Address {
  return { kind: 'open', url, secrets: [secret], headers: {} }
}

/** What a try says of its target; what a receiver asks for with `Retry-After` holds for all that is sent there. */
function verdictOn(answer: Answer): TargetVerdict {
  if ('error' in answer) return { is: answer.isOurs ? null : 'failed', restMs: 0 }
  const { status, retryAfterMs } = answer
  if (isSuccess(status)) return { is: 'accepted', restMs: 0 }
  const restMs = isThrottling(status) ? Math.min(retryAfterMs ?? 0, REST_MS_MAX) : 0
  return { is: status === 410 ? null : 'failed', restMs }
}

/**
 * What follows a try.
 * @param number Of the try, 1-based, since the delivery was made or sent again.
 * @param scheduleSeconds Wait before each try; a `Retry-After` of 429 or 503 may double it at most, never shorten it.
 */
export function decideNext(
  answer: { status: number; retryAfterMs: number | null } | { error: string },
  number: number,
  scheduleSeconds: readonly number[],
  random: () => number,
): DeliveryOutcome {
  const status = 'status' in answer ? answer.status : null
  if (status !== null && isSuccess(status)) return { state: 'delivered' }
  if (status === 410) return { state: 'gone' }
  const seconds = scheduleSeconds[number]
  if (seconds === undefined) return { state: 'exhausted' }
  const stepMs = seconds * 1000
  const askedMs = 'status' in answer && isThrottling(answer.status) ? answer.retryAfterMs : null
  if (askedMs !== null) return { state: 'pending', waitMs: Math.min(Math.max(askedMs, stepMs), 2 * stepMs) }
  return { state: 'pending', waitMs: stepMs * (1 + JITTER * (2 * random() - 1)) }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300
}

function isThrottling(status: number): boolean {
  return status === 429 || status === 503
}
