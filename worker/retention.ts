import type { Redis } from 'ioredis'
import { parseAccount } from '../shared/tenants/accounts.ts'
import type { DeliveryLog } from '../shared/webhooks/delivery-log.ts'
import type { Events } from '../shared/webhooks/events.ts'
import { parseMeta, parseTimes } from '../shared/jobs/record-texts.ts'
import type { Keys } from '../shared/keys.ts'
import { redisNowMs } from '../shared/redis.ts'
import type { Tenant } from '../shared/schemas/tenant.ts'
import type { Tenants } from '../shared/tenants/tenants.ts'
import type { Window } from '../shared/jobs/window.ts'

// Of one round, which comes twice a second: so many tenants are looked at, and so many jobs of each.
const TENANTS_AT_ONCE = 50
const JOBS_AT_ONCE = 200
/** So long a caller who holds the line has to read what he waited for, however little his tenant keeps. */
const AWAITED_MS = 60_000

/**
 * What the sweeper does for tenants that keep less than the gateway does: ended results above `results_bytes` are
 * forgotten, oldest first, events and deliveries when they are older than theirs may be. (Results, batches and files have
 * their time from the start.) A round does a bounded part of it, and the next one goes on there. Safe to do twice.
 */
export function createRetention(deps: {
  redis: Redis
  keys: Keys
  tenants: Pick<Tenants, 'list'>
  window: Pick<Window, 'forget'>
  events: Pick<Events, 'trim'>
  deliveries: Pick<DeliveryLog, 'trim'>
}) {
  const { redis, keys, tenants, window } = deps
  let lastTenant: string | undefined
  /** Jobs at the front of a tenant's list that have not ended, or could not go, while there is more to forget. */
  const passed = new Map<string, number>()

  async function sweep(): Promise<void> {
    const page = await tenants.list({ after: lastTenant, limit: TENANTS_AT_ONCE })
    lastTenant = page?.hasMore ? page.tenants.at(-1)?.id : undefined
    const nowMs = await redisNowMs(redis)
    for (const tenant of page?.tenants ?? []) await trim(tenant, nowMs)
  }

  async function trim({ id, retention }: Tenant, nowMs: number): Promise<void> {
    const { results_bytes: bytes, events_seconds: events, deliveries_seconds: deliveries } = retention
    if (typeof bytes === 'number') await trimResults(id, bytes, nowMs)
    if (typeof events === 'number') await deps.events.trim(id, nowMs - events * 1000)
    if (typeof deliveries === 'number') await deps.deliveries.trim(id, nowMs - deliveries * 1000)
  }

  async function trimResults(tenant: string, bytesMax: number, nowMs: number): Promise<void> {
    let over = parseAccount(await redis.get(keys.account(tenant))).ended - bytesMax
    if (over <= 0) {
      passed.delete(tenant)
      return
    }
    const from = passed.get(tenant) ?? 0
    const ids = await redis.zrange(keys.index(tenant), `${from}`, `${from + JOBS_AT_ONCE - 1}`)
    const facts = await Promise.all(ids.map((id) => factsOf(id, nowMs)))
    let stay = from
    for (const [at, id] of ids.entries()) {
      if (over <= 0) break
      const { size, isWanted } = facts[at] ?? { size: 0, isWanted: true }
      // Whether it has ended the script looks by itself.
      if (!isWanted && (await window.forget(id, tenant, { isDue: true }))) over -= size
      else stay += 1
    }
    // Behind the last one it begins anew: some of those that were passed may have ended.
    passed.set(tenant, ids.length < JOBS_AT_ONCE ? 0 : stay)
  }

  /** `isWanted`: it is still to be told, or its caller is about to read it. */
  async function factsOf(id: string, nowMs: number) {
    const [[size, times, meta], announced] = await Promise.all([
      redis.hmget(keys.job(id), 'size', 'times', 'meta'),
      redis.zscore(keys.announce, id),
    ])
    const isRecent = times ? nowMs - (parseTimes(times).ended ?? 0) < AWAITED_MS : false
    const isAwaited = isRecent && meta ? parseMeta(meta).mode === 'sync' : false
    return { size: Number(size ?? 0), isWanted: announced !== null || isAwaited }
  }

  /** Twice a second, as the sweeper's other chores. */
  return [sweep]
}

export type Retention = ReturnType<typeof createRetention>
