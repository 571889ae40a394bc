import type { Redis } from 'ioredis'
import type { DeliveryQueue } from './delivery-queue.ts'
import {
  attemptFields,
  ATTEMPTS_SHOWN_MAX,
  DELIVERY_FIELDS,
  parseNote,
  type DeliveryView,
} from './delivery-record.ts'
import {
  deliverySettings,
  isEndpointTarget,
  lifetimeMs,
  parseSent,
  type DeliveryTimes,
} from './delivery-targets.ts'
import type { Keys } from '../keys.ts'
import { newestFirst } from '../newest-first.ts'
import type { DeliveryState } from '../schemas/webhook.ts'
import { createScript } from '../scripts.ts'

const AGAIN_AT_ONCE = 200
const TRIMMED_MAX = 5_000

export type DeliveryFilter = {
  /** Only deliveries to this endpoint of the tenant; the caller has looked whose it is. */
  endpointId?: string | undefined
  /** Only what is about this job, batch or endpoint. */
  subject?: string | undefined
  state?: DeliveryState | undefined
  after?: string | undefined
  limit: number
}

/** `goOnFrom`: the delivery looked at last when the search was cut off, which the next page starts from; else null. */
export type DeliveryPage = { deliveries: DeliveryView[]; hasMore: boolean; goOnFrom: string | null }

/** What became of the wish to send one delivery again. `erased`: what it carried is gone. */
export type Redelivered = { kind: 'pending'; delivery: DeliveryView } | { kind: 'erased' | 'unknown' }

/** What a tenant may see of its deliveries, and have sent again. Reached by tenant and id. */
export function createDeliveryLog(deps: { redis: Redis; keys: Keys; queue: DeliveryQueue } & DeliveryTimes) {
  const { redis, keys, queue } = deps
  const settings = deliverySettings(keys, deps)
  const redeliverDeliveries = createScript(redis, 'redeliver-deliveries')
  const forgetDeliveries = createScript(redis, 'forget-deliveries')

  /** Reads how a delivery stands, without what it carries. */
  async function read(tenant: string, id: string): Promise<DeliveryView | null> {
    return canBeId(id) ? readWhole(tenant, id, ATTEMPTS_SHOWN_MAX) : null
  }

  // In one command, so that no try stands there with what was before it. @param count Of its tries, at most.
  async function readWhole(tenant: string, id: string, count: number): Promise<DeliveryView | null> {
    const names = attemptFields(count)
    const values = await redis.hmget(keys.delivery(id), ...DELIVERY_FIELDS, ...names)
    const [owner, subjectId, eventId, type, target, state, created, due, attempts] = values
    if (owner !== tenant || !target) return null
    if (Number(attempts) > count) return readWhole(tenant, id, Number(attempts))
    const notes = values.slice(DELIVERY_FIELDS.length)
    return {
      id,
      tenant,
      subjectId: subjectId ?? '',
      eventId: eventId ?? '',
      type: type ?? '',
      endpointId: isEndpointTarget(target) ? target : null,
      state: state as DeliveryState, // written by our scripts only
      createdMs: Number(created),
      nextAttemptMs: due ? Number(due) : null,
      attempts: notes.flatMap((note, at) => (note ? [parseNote(Number(names[at]?.slice(1)), note)] : [])),
    }
  }

  /** A page of a tenant's deliveries, newest first. @returns null when `after` names none of them. */
  async function list(tenant: string, filter: DeliveryFilter): Promise<DeliveryPage | null> {
    const { endpointId } = filter
    const index = endpointId === undefined ? keys.deliveryIndex(tenant) : keys.endpointDeliveries(endpointId)
    const page = await newestFirst(redis, index, filter, (ids) => matching(tenant, ids, filter))
    if (!page) return null
    const deliveries = await Promise.all(page.ids.map((id) => read(tenant, id)))
    return {
      deliveries: deliveries.flatMap((delivery) => delivery ?? []),
      hasMore: page.hasMore,
      goOnFrom: page.goOnFrom,
    }
  }

  async function matching(
    tenant: string,
    ids: readonly string[],
    { subject, state }: DeliveryFilter,
  ): Promise<string[]> {
    const facts = await Promise.all(
      ids.map((id) => redis.hmget(keys.delivery(id), 'tenant', 'subject', 'state')),
    )
    return ids.filter((_, position) => {
      const [owner, itsSubject, itsState] = facts[position] ?? []
      return owner === tenant && (subject ?? itsSubject) === itsSubject && (state ?? itsState) === itsState
    })
  }

  async function sendAgain(tenant: string, which: 'one' | 'lost', ids: readonly string[]) {
    const reply = await redeliverDeliveries(
      [keys.deliveriesDue],
      ['', settings, tenant, which, lifetimeMs(deps), keys.event(''), ...ids],
    )
    const [count, said, ...sent] = reply as [number, Buffer, ...unknown[]] // see the script
    await queue.add(parseSent(sent))
    return { count, said: said.toString() }
  }

  /**
   * Sends a delivery again, with all tries of the schedule anew under the same `webhook-id`, before whatever else waits for
   * its target; one that waits is tried now.
   */
  async function redeliver(tenant: string, id: string): Promise<Redelivered> {
    if (!canBeId(id)) return { kind: 'unknown' }
    const { said } = await sendAgain(tenant, 'one', [id])
    if (said === 'erased') return { kind: 'erased' }
    const delivery = said === 'pending' ? await read(tenant, id) : null
    return delivery ? { kind: 'pending', delivery } : { kind: 'unknown' }
  }

  /**
   * Sends again, oldest first, what was created in this time for an endpoint and not delivered; at the rate after an outage.
   * What is not kept any more, and samples, are left out. @param untilMs May be Infinity. @returns how many.
   */
  async function recover(
    tenant: string,
    endpointId: string,
    sinceMs: number,
    untilMs: number,
  ): Promise<number> {
    const index = keys.endpointDeliveries(endpointId)
    const ids = await redis.zrange(
      index,
      `${sinceMs}`,
      untilMs === Infinity ? '+inf' : `${untilMs}`,
      'BYSCORE',
    )
    let count = 0
    for (let at = 0; at < ids.length; at += AGAIN_AT_ONCE) {
      count += (await sendAgain(tenant, 'lost', ids.slice(at, at + AGAIN_AT_ONCE))).count
    }
    return count
  }

  /** Forgets a tenant's ended deliveries that are older, at most some thousands at once. @returns how many. */
  async function trim(tenant: string, beforeMs: number): Promise<number> {
    const index = keys.deliveryIndex(tenant)
    const prefixes = [keys.deliveryIndex(''), keys.endpointDeliveries('')]
    // Those that go on stay, and stand before the others.
    let [count, left] = [0, 0]
    while (count + left < TRIMMED_MAX) {
      const page = ['LIMIT', left, AGAIN_AT_ONCE] as const
      const ids = await redis.zrange(index, '-inf', `(${beforeMs}`, 'BYSCORE', ...page)
      if (ids.length === 0) break
      const reply = await forgetDeliveries([keys.deliveriesDue], ['', settings, 0, ...prefixes, ...ids])
      const [, forgotten] = reply as [number, number] // see the script
      count += forgotten
      left += ids.length - forgotten
    }
    return count
  }

  return { read, list, redeliver, recover, trim }
}

export type DeliveryLog = ReturnType<typeof createDeliveryLog>

/** Only what can be an id of ours is made into a key. */
function canBeId(id: string): boolean {
  return /^dlv_[A-Za-z0-9]{1,64}$/.test(id)
}
