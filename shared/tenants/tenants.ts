import type { Redis } from 'ioredis'
import { ConflictError } from '../errors.ts'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'
import { createScript } from '../scripts.ts'
import { ofTenant } from '../shards.ts'
import { Tenant, type TenantChange, type TenantSettings } from '../schemas/tenant.ts'

// Two who write one tenant at once are rare; a loop that never ends is a bug.
const TRIES_MAX = 20
const NO_LIMIT = Number.MAX_SAFE_INTEGER
const MICRO = 1_000_000
/** Which of the keys of `set-tenant.lua`. */
const CONCURRENCY = 3
const BUDGETS = 4

/** Key, field, limit; '': no such limit. */
type ScriptLimit = readonly [key: number, field: string, limit: number | '']

export type TenantPage = { tenants: Tenant[]; hasMore: boolean }

/** Where a tenant stands in the list: newer ones come first, of one moment the one with the greater id. */
export type TenantPlace = { madeMs: number; id: string }
type PlacedTenant = { place: TenantPlace; tenant: Tenant }

/** What a list is made of. `listAfter`: from a place on, null from the start. */
type Listing = {
  placeOf: (id: string) => Promise<TenantPlace | null>
  listAfter: (place: TenantPlace | null, limit: number) => Promise<PlacedTenant[]>
}

/**
 * The store of tenants: their limits and how long things are kept. A tenant without a record has its keys and no limits.
 * Every change is published as changes of keys are.
 */
export function createTenants({ redis, keys, ids }: { redis: Redis; keys: Keys; ids: Pick<Ids, 'ownerId'> }) {
  const setTenant = createScript(redis, 'set-tenant')

  /** @throws {ConflictError} when there is one with this id. */
  async function create(id: string, settings: TenantSettings = {}): Promise<Tenant> {
    const tenant = blank(id, settings)
    if (await write(null, tenant)) return tenant
    throw new ConflictError(
      `There is a tenant ${id} already. Change that one, or choose another id.`,
      'tenant_exists',
    )
  }

  /** Makes the record of a tenant that has none. */
  async function ensure(id: string): Promise<void> {
    if ((await read(id)) === null) await write(null, blank(id, {}))
  }

  async function get(id: string): Promise<Tenant | null> {
    const text = await read(id)
    return text === null ? null : parse(text)
  }

  /**
   * Changes what a tenant is as it stands now; what is not named stays.
   * @returns it as it stands then; null: it has no record.
   */
  async function update(id: string, change: (tenant: Tenant) => TenantChange): Promise<Tenant | null> {
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const text = await read(id)
      if (text === null) return null
      const before = parse(text)
      const { disabled = before.disabled_at !== null, ...settings } = change(before)
      const disabledAt = disabled ? (before.disabled_at ?? nowSeconds()) : null
      const after: Tenant = { ...before, ...settings, disabled_at: disabledAt }
      if (await write({ text, tenant: before }, after)) return after
    }
    throw new Error('A tenant was changed by others again and again.')
  }

  async function placeOf(id: string): Promise<TenantPlace | null> {
    const madeMs = await redis.zscore(keys.tenantIndex, id)
    return madeMs === null ? null : { madeMs: Number(madeMs), id }
  }

  async function listAfter(place: TenantPlace | null, limit: number): Promise<PlacedTenant[]> {
    const places = await placesAfter(place, limit)
    const texts =
      places.length === 0 ? [] : await redis.hmget(keys.tenantRecords, ...places.map(({ id }) => id))
    return places.flatMap((found, at) => {
      const text = texts[at] ?? null
      return text === null ? [] : [{ place: found, tenant: parse(text) }]
    })
  }

  async function placesAfter(place: TenantPlace | null, limit: number): Promise<TenantPlace[]> {
    const [from, same] = place
      ? [`(${place.madeMs}`, await redis.zrevrangebyscore(keys.tenantIndex, place.madeMs, place.madeMs)]
      : ['+inf', []]
    const flat = await redis.zrevrangebyscore(keys.tenantIndex, from, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
    const older = flat.flatMap((id, at) => (at % 2 === 0 ? [{ madeMs: Number(flat[at + 1]), id }] : []))
    const ofOneMoment = same.filter((id) => place && id < place.id)
    return [...ofOneMoment.map((id) => ({ madeMs: place?.madeMs ?? 0, id })), ...older].slice(0, limit)
  }

  function read(id: string): Promise<string | null> {
    return redis.hget(keys.tenantRecords, id)
  }

  /** False: what was read is not what is there. */
  async function write(before: { text: string; tenant: Tenant } | null, after: Tenant): Promise<boolean> {
    const gone = before ? readByScripts(before.tenant).map(([key, field]) => [key, field, ''] as const) : []
    const said = await setTenant(
      [keys.tenantRecords, keys.tenantIndex, keys.concurrency, keys.budgets],
      [
        after.id,
        before?.text ?? '',
        JSON.stringify(after),
        Date.now(),
        keys.apiKeysChannel,
        after.id,
        ...[...gone, ...readByScripts(after)].flat(),
      ],
    )
    return String(said) === 'written'
  }

  /** Limits that scripts read by themselves: the tenant's own, of each customer, of those that are named. */
  function readByScripts({ id, limits, customer_limits: ofEach, customers }: Tenant): ScriptLimit[] {
    // What is no customer's has none of their limits.
    const hasEach = typeof ofEach.jobs_concurrent === 'number'
    const ofNobody: ScriptLimit[] = hasEach ? [[CONCURRENCY, `${id} ${ids.ownerId(id, null)}`, NO_LIMIT]] : []
    return [
      [CONCURRENCY, id, limits.jobs_concurrent ?? ''],
      [BUDGETS, id, microOf(limits.usd_per_day) ?? ''],
      [CONCURRENCY, `${id} *`, ofEach.jobs_concurrent ?? ''],
      [BUDGETS, `${id} *`, microOf(ofEach.usd_per_day) ?? ''],
      ...ofNobody,
      ...Object.entries(customers).flatMap(([name, own]): ScriptLimit[] => {
        const field = `${id} ${ids.ownerId(id, name)}`
        return [
          [CONCURRENCY, field, ofNamed(own.jobs_concurrent)],
          [BUDGETS, field, ofNamed(microOf(own.usd_per_day))],
        ]
      }),
    ]
  }

  return { create, ensure, get, update, placeOf, listAfter, list: listOf({ placeOf, listAfter }) }
}

export type Tenants = ReturnType<typeof createTenants>
export type AllTenants = Omit<Tenants, keyof Listing>

/** The stores of all shards as one: a tenant is in one of them, a list is of all. */
export function joinTenants(shards: readonly Tenants[]): AllTenants {
  const storeOf = (id: string): Tenants => ofTenant(shards, id)
  return {
    create: (id, settings) => storeOf(id).create(id, settings),
    ensure: (id) => storeOf(id).ensure(id),
    get: (id) => storeOf(id).get(id),
    update: (id, change) => storeOf(id).update(id, change),
    list: listOf({
      placeOf: (id) => storeOf(id).placeOf(id),
      async listAfter(place, limit) {
        const found = await Promise.all(shards.map((shard) => shard.listAfter(place, limit)))
        return found.flat().toSorted(byPlace).slice(0, limit)
      },
    }),
  }
}

function byPlace({ place: a }: PlacedTenant, { place: b }: PlacedTenant): number {
  return b.madeMs - a.madeMs || (a.id < b.id ? 1 : -1)
}

/** Pages of a list, newest first. A page is null when `after` names no tenant. */
function listOf({ placeOf, listAfter }: Listing) {
  return async function list(query: {
    after?: string | undefined
    limit: number
  }): Promise<TenantPage | null> {
    const place = query.after === undefined ? null : await placeOf(query.after)
    if (query.after !== undefined && place === null) return null
    const found = await listAfter(place, query.limit + 1)
    const page = found.slice(0, query.limit)
    return { tenants: page.map(({ tenant }) => tenant), hasMore: found.length > query.limit }
  }
}

// Without a field of its own it is as each customer; null: it has no limit, though each has one.
function ofNamed(limit: number | null | undefined): number | '' {
  return limit === null ? NO_LIMIT : (limit ?? '')
}

function microOf(usd: number | null | undefined): number | null | undefined {
  return typeof usd === 'number' ? Math.round(usd * MICRO) : usd
}

function blank(id: string, settings: TenantSettings): Tenant {
  return {
    id,
    object: 'tenant',
    name: null,
    created_at: nowSeconds(),
    disabled_at: null,
    limits: {},
    customer_limits: {},
    customers: {},
    retention: {},
    durability: 'default',
    ...settings,
  }
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000)
const parse = (text: string): Tenant => Tenant.parse(JSON.parse(text))
