import type { Redis } from 'ioredis'
import { createDurability } from '../shared/durability.ts'
import { ConfigError } from '../shared/errors.ts'
import { createIds, type Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import { describeIssue } from '../shared/schema-issues.ts'
import { readShards, shardKeys } from '../shared/shards.ts'
import { TenantChange, TenantId, type Limits, type Tenant } from '../shared/schemas/tenant.ts'
import { createTenants, joinTenants, type AllTenants } from '../shared/tenants/tenants.ts'
import { readDuration } from './durations.ts'
import { readMadeSecret } from './local-keys.ts'
import { withRedis } from './redis.ts'
import { readFolders, type Environment } from './settings.ts'

type Terminal = { environment: Environment; print: (text: string) => void }

/** What `tenants create` and `tenants set` were given. Each limit and retention is `name=value`. */
export type TenantOptions = {
  name?: string
  limit?: string[]
  /** Whose the limits are; the tenant's unless one of these says otherwise. */
  customer?: string
  eachCustomer?: boolean
  retention?: string[]
  durability?: string
}

const PAGE = 100
const FSYNC_TIMEOUT_MS = 5_000

/** Makes a tenant and prints it. */
export async function createTenant(id: string, options: TenantOptions, terminal: Terminal): Promise<void> {
  const parsed = TenantId.safeParse(id)
  if (!parsed.success) throw new ConfigError('A tenant is 1 to 64 letters, digits, "_" or "-".')
  await withTenants(terminal.environment, async (tenants, requireDurability) => {
    const settings = changeOf({ limits: {}, customer_limits: {}, customers: {}, retention: {} }, options)
    await requireDurability(settings)
    terminal.print(asJson(await tenants.create(id, settings)))
  })
}

/** Prints a line for each tenant, newest first: id, when it was made, `disabled` if it is, name; tabs between. */
export async function listTenants(terminal: Terminal): Promise<void> {
  await withTenants(terminal.environment, async (tenants) => {
    let after: string | undefined
    do {
      const page = await tenants.list({ after, limit: PAGE })
      for (const tenant of page?.tenants ?? []) terminal.print(lineOf(tenant))
      after = page?.hasMore ? page.tenants.at(-1)?.id : undefined
    } while (after !== undefined)
  })
}

/** Prints a tenant as JSON. */
export async function showTenant(id: string, terminal: Terminal): Promise<void> {
  await withTenants(terminal.environment, async (tenants) => {
    terminal.print(asJson(orMissing(id, await tenants.get(id))))
  })
}

/** Changes what is named of a tenant and prints it. */
export async function setTenant(id: string, options: TenantOptions, terminal: Terminal): Promise<void> {
  await withTenants(terminal.environment, async (tenants, requireDurability) => {
    await requireDurability({ durability: options.durability })
    const changed = await tenants.update(id, (before) => changeOf(before, options))
    terminal.print(asJson(orMissing(id, changed)))
  })
}

/** Refuses a tenant's keys, or takes them again. */
export async function disableTenant(id: string, disabled: boolean, terminal: Terminal): Promise<void> {
  await withTenants(terminal.environment, async (tenants) => {
    orMissing(id, await tenants.update(id, () => ({ disabled })))
    terminal.print(`${id} is ${disabled ? 'disabled' : 'enabled'}.\n`)
  })
}

/** The tenants on this Redis, under the secret of the gateway that is meant. */
export async function openTenants(environment: Environment, redis: Redis, keys: Keys): Promise<AllTenants> {
  const { keysDir } = readFolders(environment)
  const made = environment.REDIS_URL ? null : await readMadeSecret(keysDir)
  const secret = environment.GATEWAY_ID_SECRET || made
  const ids = secret === null ? NO_IDS : createIds(secret)
  const count = (await readShards(redis, keys)) ?? Number(environment.GATEWAY_SHARDS || 1)
  const shards = shardKeys(keys.prefix, count)
  return joinTenants(shards.map((ofShard) => createTenants({ redis, keys: ofShard, ids })))
}

/** What can't be kept is not promised. @throws {DurabilityUnavailableError} */
type RequireDurability = (settings: { durability?: string | undefined }) => Promise<void>

function withTenants(
  environment: Environment,
  work: (tenants: AllTenants, requireDurability: RequireDurability) => Promise<void>,
): Promise<void> {
  return withRedis(environment, async (redis, keys) => {
    const durability = createDurability({ open: () => redis.duplicate(), timeoutMs: FSYNC_TIMEOUT_MS })
    const require: RequireDurability = async (settings) => {
      if (settings.durability === 'fsync') await durability.require(keys.fsyncMark, 'durability')
    }
    await work(await openTenants(environment, redis, keys), require)
  })
}

/** Only what is kept of a customer by name needs the secret. */
const NO_IDS: Pick<Ids, 'ownerId'> = {
  ownerId: () => {
    throw new ConfigError(
      'Set GATEWAY_ID_SECRET to what the gateway has: limits of customers are kept under it.',
    )
  },
}

type Groups = Pick<Tenant, 'limits' | 'customer_limits' | 'customers' | 'retention'>

function changeOf(
  before: Groups,
  { name, limit, customer, eachCustomer, retention, durability }: TenantOptions,
): TenantChange {
  if (customer !== undefined && eachCustomer) {
    throw new ConfigError('Give --customer or --each-customer, not both.')
  }
  const laid = (old: Limits) => over(old, limit ?? [])
  const change = {
    ...(name !== undefined && { name: name === '' ? null : name }),
    ...(limit && customer === undefined && !eachCustomer && { limits: laid(before.limits) }),
    ...(limit && eachCustomer && { customer_limits: laid(before.customer_limits) }),
    ...(limit &&
      customer !== undefined && {
        customers: { ...before.customers, [customer]: laid(before.customers[customer] ?? {}) },
      }),
    ...(retention && { retention: over(before.retention, retention) }),
    ...(durability !== undefined && { durability }),
  }
  const parsed = TenantChange.safeParse(change)
  if (!parsed.success) throw describeIssue(parsed.error, change)
  return parsed.data
}

/** What `name=value` pairs make of a group: `none` is no such limit, nothing takes the entry away. */
function over(group: object, pairs: readonly string[]): Record<string, unknown> {
  const result: Record<string, unknown> = { ...group }
  for (const pair of pairs) {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(pair) ?? []
    if (name === '') throw new ConfigError(`"${pair}" is not NAME=VALUE.`)
    if (value === '') delete result[name]
    else if (value === 'none') result[name] = null
    else result[name] = name.endsWith('_seconds') ? readDuration(value, name) : Number(value)
  }
  return result
}

function orMissing(id: string, tenant: Tenant | null): Tenant {
  if (!tenant) throw new ConfigError(`There is no tenant ${id}. "tenants list" shows them.`)
  return tenant
}

function lineOf({ id, created_at: madeAt, disabled_at: disabledAt, name }: Tenant): string {
  const state = disabledAt === null ? '' : 'disabled'
  return `${[id, new Date(madeAt * 1000).toISOString(), state, name ?? ''].join('\t').trimEnd()}\n`
}

const asJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
