import { createApiKeys, type ApiKeys } from '../shared/tenants/api-keys.ts'
import { ConfigError } from '../shared/errors.ts'
import { describeIssue } from '../shared/schema-issues.ts'
import { ApiKeySettings, type ApiKey } from '../shared/schemas/api-key.ts'
import { readDuration } from './durations.ts'
import { withRedis } from './redis.ts'
import type { Environment } from './settings.ts'
import { openTenants } from './tenants.ts'

type Terminal = { environment: Environment; print: (text: string) => void }

/** What `keys create` was given. */
export type KeyOptions = {
  tenant: string
  name?: string
  expiresIn?: string
  scope?: string[]
  model?: string[]
  endpoint?: string[]
}

/** Makes a tenant's gateway key, and the tenant if it is new, and prints the key on a line of its own, for scripts. */
export async function createKey({ tenant, ...options }: KeyOptions, terminal: Terminal): Promise<void> {
  const settings = settingsOf(options)
  const { environment, print } = terminal
  await withRedis(environment, async (redis, keys) => {
    const { key } = await createApiKeys({ redis, keys }).create(tenant, settings)
    await (await openTenants(environment, redis, keys)).ensure(tenant)
    print(`${key}\n`)
  })
}

/** Prints a line for each key: id, tenant, hint, when it was made, name, and what narrows it; tabs between. */
export async function listKeys({ tenant }: { tenant?: string }, terminal: Terminal): Promise<void> {
  await withApiKeys(terminal.environment, async (apiKeys) => {
    for (const key of await apiKeys.all()) {
      if (tenant !== undefined && key.tenant !== tenant) continue
      const { id, hint, name, created_at: madeAt } = key
      const facts = [id, key.tenant, hint, timeOf(madeAt), name ?? '', restrictionsOf(key)]
      terminal.print(`${facts.join('\t').trimEnd()}\n`)
    }
  })
}

/**
 * Ends a key.
 * @throws {ConfigError} when there is none with this id.
 */
export async function revokeKey(id: string, terminal: Terminal): Promise<void> {
  await withApiKeys(terminal.environment, async (apiKeys) => {
    if (!(await apiKeys.revoke(id))) throw new ConfigError(`No key has the id ${id}. "keys list" shows them.`)
    terminal.print(`${id} is revoked.\n`)
  })
}

function settingsOf({ name, expiresIn, scope, model, endpoint }: Omit<KeyOptions, 'tenant'>): ApiKeySettings {
  const lifeSeconds = expiresIn === undefined ? null : readDuration(expiresIn, '--expires-in')
  const given = {
    name,
    expires_at: lifeSeconds === null ? undefined : Math.floor(Date.now() / 1000) + lifeSeconds,
    scopes: scope,
    models: model,
    endpoints: endpoint,
  }
  const settings = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  const parsed = ApiKeySettings.safeParse(settings)
  if (!parsed.success) throw describeIssue(parsed.error, settings)
  return parsed.data
}

const timeOf = (seconds: number): string => new Date(seconds * 1000).toISOString()

function restrictionsOf({ scopes, models, endpoints, expires_at: expiresAt }: ApiKey): string {
  return [
    scopes.join(','),
    ...(expiresAt === null ? [] : [`until ${timeOf(expiresAt)}`]),
    ...(models === null ? [] : [`models ${models.join(',')}`]),
    ...(endpoints === null ? [] : [`endpoints ${endpoints.join(',')}`]),
  ].join('; ')
}

function withApiKeys(environment: Environment, work: (apiKeys: ApiKeys) => Promise<void>): Promise<void> {
  return withRedis(environment, (redis, keys) => work(createApiKeys({ redis, keys })))
}
