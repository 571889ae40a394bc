import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { DeliveryEntry, DeliveryQueue } from './delivery-queue.ts'
import {
  ATTEMPTS_SHOWN_MAX,
  DeliveryHook,
  noteOf,
  type DeliveryAttempt,
  type DeliveryInput,
} from './delivery-record.ts'
import { deliverySettings, lifetimeMs, parseSent, targetId, type DeliveryTimes } from './delivery-targets.ts'
import { eventFields, openEvent, type NewEvent } from './events.ts'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'
import { createScript, type ScriptArgument } from '../scripts.ts'
import type { SealPlace, Sealer } from '../seal.ts'

// A try that its worker does not end in time is another worker's.
const LEASE_MARGIN_MS = 2_000
const ANNOUNCE_AGAIN_MS = 60_000
const TARGETS_AT_ONCE_MAX = 50
const ROUNDS_MAX = 4
const FORGOTTEN_AT_ONCE_MAX = 200

/** One try, taken by one worker. */
export type DeliveryClaim = {
  id: string
  token: string
  /** Number of this try, 1-based. */
  number: number
  /** Of the tries since it was made, or was sent again: what the schedule goes by. */
  numberOfRound: number
  startedMs: number
  /** Since when it was due. */
  lateMs: number
  tenant: string
  subjectId: string
  eventId: string
  targetId: string
  isTest: boolean
  /** Of the event. */
  type: string
  /** Where the trace of what it tells of goes on. */
  trace: string | undefined
  sealed: { body: Buffer; event: Buffer; hook: Buffer }
}

export type ClaimResult = { kind: 'claimed'; claim: DeliveryClaim } | { kind: 'early' | 'ended' | 'gone' }

/** What follows a try. */
export type DeliveryOutcome =
  | { state: 'pending'; waitMs: number }
  | { state: 'delivered' | 'exhausted' | 'gone' | 'disabled' }

/** What a try says of its target. */
export type TargetVerdict = {
  /** Null: nothing, it may be a fault of ours. */
  is: 'accepted' | 'failed' | null
  /** For how long the target wants to be left alone. */
  restMs: number
}

/** `failingMs`: for how long there was nothing but failures at the target. */
export type Finished = { kind: 'noted' | 'ended' | 'fenced'; failingMs: number }

/**
 * The record store of webhook deliveries. Records are written where the announcement of an ended job or batch is taken away;
 * then each waits at its target (an endpoint, or a job's own URL) for its time and for room there, and is kept for a while
 * after its end. What it carries is sealed; a text of its own, with a result in it, is erased when it was accepted.
 */
export function createDeliveries(
  deps: {
    redis: Redis
    keys: Keys
    ids: Ids
    sealer: Sealer
    queue: DeliveryQueue
  } & DeliveryTimes,
) {
  const { redis, keys, ids, sealer, queue, leaseMs = deps.timeoutMs + LEASE_MARGIN_MS } = deps
  const settings = deliverySettings(keys, deps)
  const createDelivery = createScript(redis, 'create-delivery')
  const claimDelivery = createScript(redis, 'claim-delivery')
  const finishDelivery = createScript(redis, 'finish-delivery')
  const returnDelivery = createScript(redis, 'return-delivery')
  const feedDeliveries = createScript(redis, 'feed-deliveries')
  const forgetDeliveries = createScript(redis, 'forget-deliveries')

  /**
   * Makes the events and deliveries of what was announced, or of news, and enqueues what can be sent at once. Twice, or by
   * two at once: they are made once. Without any, the announcement and what the record knew of its webhook are taken away.
   * @param subjectId The job, batch or endpoint that all of them are about; of one tenant.
   * @param made.isNews News of what goes on, or a sample, of which there is no announcement.
   * @returns false when it was announced before.
   */
  async function create(
    subjectId: string,
    made: { events: readonly NewEvent[]; deliveries: readonly DeliveryInput[]; isNews?: boolean },
  ): Promise<boolean> {
    const { events, deliveries, isNews = false } = made
    const tenant = events[0]?.tenant ?? deliveries[0]?.tenant ?? ''
    const reply = await createDelivery(
      [
        keys.announce, recordOf(subjectId), keys.eventIndex(tenant), keys.deliveryIndex(tenant),
        ...events.map(({ id }) => keys.event(id)),
      ], // oxfmt-ignore
      [
        '', settings, isNews ? '' : subjectId, isNews || !isJobId(subjectId) ? '' : subjectId,
        Math.round((deps.scheduleSeconds[0] ?? 0) * 1000), lifetimeMs(deps), deps.eventRetentionMs,
        events.length, deliveries.length,
        ...events.flatMap((event) => counted([event.id], eventFields(event, sealer))),
        ...deliveries.flatMap((one) => deliveryArguments(subjectId, one)),
      ], // oxfmt-ignore
    )
    const [kind, ...sent] = reply as [Buffer, ...unknown[]] // see the script
    // From here on a failure delays the first try: its lease runs out, and the sweeper enqueues it.
    await queue.add(parseSent(sent))
    return kind.toString() === 'created'
  }

  function deliveryArguments(subjectId: string, input: DeliveryInput): ScriptArgument[] {
    const { id, tenant, target, body } = input
    const endpointIndex = target.kind === 'endpoint' ? keys.endpointDeliveries(target.id) : ''
    const fields: ScriptArgument[] = [
      'tenant', tenant, 'subject', subjectId, 'event_id', input.eventId, 'type', input.type,
      'result_ttl', input.resultTtlMs ?? 0,
    ] // oxfmt-ignore
    if (input.isTest) fields.push('test', 1)
    if (input.trace !== undefined) fields.push('trace', input.trace)
    if (body !== undefined) fields.push('own', 1, 'body', sealer.seal(place(tenant, id, 'body'), body))
    if (target.kind === 'url') {
      fields.push('hook', sealer.seal(place(tenant, id, 'hook'), JSON.stringify(target.hook)))
    }
    return counted([id, targetId(ids, tenant, target), input.isTest ? 1 : 0, endpointIndex], fields)
  }

  function recordOf(subjectId: string): string {
    if (isBatchId(subjectId)) return keys.batch(subjectId)
    return isJobId(subjectId) ? keys.job(subjectId) : keys.endpoint(subjectId)
  }

  /** Takes away the announcement of an end that nobody asked to be told of, and what the record knew of its webhook. */
  async function drop(subjectId: string): Promise<void> {
    await create(subjectId, { events: [], deliveries: [] })
  }

  /** Leaves an announcement that can't be made now for later, so that it does not stand before the others. */
  async function putOff(subjectId: string): Promise<void> {
    await redis.zadd(keys.announce, 'XX', Date.now() + ANNOUNCE_AGAIN_MS, subjectId)
  }

  /** Takes a delivery for one try. `early`: another worker has it, or it waits for its turn. */
  async function claim(id: string): Promise<ClaimResult> {
    const token = randomBytes(12).toString('hex')
    const startedMs = Date.now()
    const reply = await claimDelivery(
      [keys.delivery(id)],
      ['', settings, id, token, leaseMs, keys.event(''), ATTEMPTS_SHOWN_MAX],
    )
    const [kind, number, before, ...rest] = reply as [Buffer, number, number, ...(Buffer | number)[]] // see the script
    const said = kind.toString()
    if (said !== 'claimed') return { kind: said as 'early' | 'ended' | 'gone' }
    const [tenant = '', subjectId = '', eventId = '', target = '', test] = rest.slice(0, 5).map(String)
    const [body = none, event = none, hook = none] = rest.slice(5, 8) as Buffer[]
    const [type = '', trace = ''] = rest.slice(9).map(String)
    const known = { type, isTest: test === '1', trace: trace === '' ? undefined : trace }
    const names = { id, token, tenant, subjectId, eventId, targetId: target, ...known }
    const times = { number, numberOfRound: number - before, startedMs, lateMs: Number(rest[8] ?? 0) }
    return { kind: 'claimed', claim: { ...names, ...times, sealed: { body, event, hook } } }
  }

  /**
   * What a try sends: null when the event is not kept any more. The hook is null where an endpoint says where it goes.
   * @throws {SealError} when its key is not configured here.
   */
  function open(claimed: DeliveryClaim): { event: string | null; hook: DeliveryHook | null } {
    const { id, tenant, sealed } = claimed
    if (sealed.hook.length === 0) return { event: eventOf(claimed), hook: null }
    const hook = sealer.open(place(tenant, id, 'hook'), sealed.hook).toString()
    return { event: eventOf(claimed), hook: DeliveryHook.parse(JSON.parse(hook)) }
  }

  function eventOf({ id, tenant, eventId, sealed }: DeliveryClaim): string | null {
    if (sealed.body.length > 0) return sealer.open(place(tenant, id, 'body'), sealed.body).toString()
    return sealed.event.length > 0 ? openEvent(tenant, eventId, sealed.event, sealer) : null
  }

  /**
   * Notes a try, what follows and what it says of its target, and enqueues what goes there next. `fenced`: it took longer
   * than its lease, and another one counts.
   */
  async function finish(
    claimed: DeliveryClaim,
    attempt: DeliveryAttempt,
    outcome: DeliveryOutcome,
    verdict: TargetVerdict,
  ): Promise<Finished> {
    const waitMs = outcome.state === 'pending' ? Math.round(outcome.waitMs) : 0
    const reply = await finishDelivery(
      [keys.delivery(claimed.id)],
      [
        '', settings, claimed.id, claimed.token, claimed.targetId, outcome.state, waitMs,
        attempt.number, noteOf(attempt), verdict.is ?? '', Math.round(verdict.restMs),
      ], // oxfmt-ignore
    )
    const [kind, failingMs, ...sent] = reply as [Buffer, number, ...unknown[]] // see the script
    await queue.add(parseSent(sent))
    return { kind: kind.toString() as Finished['kind'], failingMs }
  }

  /** Hands back a delivery that was not claimed; its target is left alone for `restMs`. */
  async function putBack({ deliveryId, targetId: target }: DeliveryEntry, restMs: number): Promise<void> {
    await returnDelivery([keys.delivery(deliveryId)], ['', settings, deliveryId, target, Math.round(restMs)])
  }

  /** Has the feeder look at a target at once: its endpoint was disabled, and what waits for it is to end. */
  async function lookAt(target: string): Promise<void> {
    await redis.zadd(keys.targetsDue, 0, target)
  }

  /** Enqueues what is due, of some hundred targets at once. @returns how many. */
  async function feedDue(): Promise<number> {
    let count = 0
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const reply = await feedDeliveries([keys.targetsDue], ['', settings, TARGETS_AT_ONCE_MAX])
      const [targets, ...sent] = reply as [number, ...unknown[]] // see the script
      await queue.add(parseSent(sent))
      count += sent.length
      if (targets < TARGETS_AT_ONCE_MAX) break
    }
    return count
  }

  /** Gives up and forgets what is to be, some hundred at once. @returns whether there may be more. */
  async function forgetDue(): Promise<boolean> {
    const prefixes = [keys.deliveryIndex(''), keys.endpointDeliveries('')]
    const reply = await forgetDeliveries(
      [keys.deliveriesDue],
      ['', settings, FORGOTTEN_AT_ONCE_MAX, ...prefixes],
    )
    return (reply as [number, number])[0] === FORGOTTEN_AT_ONCE_MAX
  }

  return { create, drop, putOff, claim, open, finish, putBack, lookAt, feedDue, forgetDue }
}

export type Deliveries = ReturnType<typeof createDeliveries>

/** Whether what an event is about is a batch. */
export function isBatchId(subjectId: string): boolean {
  return subjectId.startsWith('batch_')
}

function isJobId(subjectId: string): boolean {
  return subjectId.startsWith('job_')
}

const none = Buffer.alloc(0)

function counted(head: readonly ScriptArgument[], fields: readonly ScriptArgument[]): ScriptArgument[] {
  return [...head, fields.length, ...fields]
}

function place(tenant: string, id: string, field: 'body' | 'hook'): SealPlace {
  return { tenant, kind: 'delivery', id, field }
}
