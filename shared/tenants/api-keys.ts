import { hash as digest, randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { findEndpoint } from '../jobs/completion-body.ts'
import { InvalidRequestError } from '../errors.ts'
import type { Keys } from '../keys.ts'
import { createScript } from '../scripts.ts'
import { ApiKey, SCOPES_DEFAULT, type ApiKeySettings, type NewApiKey } from '../schemas/api-key.ts'
import { TenantId } from '../schemas/tenant.ts'

/** The tenant of the master key. */
export const MASTER_TENANT = 'default'

const KEYS_MAX = 1_000
// Two who write one key at once are rare; a loop that never ends is a bug.
const TRIES_MAX = 20
const SCAN_COUNT = 1_000

/**
 * What a gateway key is found by: hex SHA-256. A plain hash is enough here: a key is 256 random bits, so there is
 * nothing to guess that a slow or salted hash would make dearer, and every API call pays for it.
 */
export function hashApiKey(key: string): string {
  return digest('sha256', key)
}

/** Whether the time of a key is over. */
export function hasExpired({ expires_at: expiresAt }: Pick<ApiKey, 'expires_at'>): boolean {
  return expiresAt !== null && expiresAt * 1000 <= Date.now()
}

export type ApiKeyPage = { apiKeys: ApiKey[]; hasMore: boolean }

/**
 * The store of tenants' gateway keys. Every change is published, so that no process goes on with what it remembers. One that
 * has expired stays to be seen until it is revoked.
 */
export function createApiKeys({ redis, keys }: { redis: Redis; keys: Keys }) {
  const setApiKey = createScript(redis, 'set-api-key')

  /**
   * Makes a key. The returned `key` is the only copy.
   * @throws {InvalidRequestError} for a tenant that can be none, and settings that make no sense.
   */
  async function create(tenant: string, settings: ApiKeySettings = {}): Promise<NewApiKey> {
    if (!TenantId.safeParse(tenant).success) {
      throw new InvalidRequestError('A tenant is 1 to 64 letters, digits, "_" or "-".', 'tenant')
    }
    const key = `sk-${randomBytes(32).toString('base64url')}`
    const record: ApiKey = {
      id: `key_${randomBytes(9).toString('hex')}`,
      object: 'api_key',
      tenant,
      hint: `${key.slice(0, 6)}…${key.slice(-4)}`,
      created_at: Math.floor(Date.now() / 1000),
      name: null,
      expires_at: null,
      scopes: [...SCOPES_DEFAULT],
      models: null,
      endpoints: null,
      ...settings,
    }
    check(settings, record)
    const said = await write(record, { hash: hashApiKey(key), read: '', written: JSON.stringify(record) })
    if (said === 'full') {
      const message = `A tenant has ${KEYS_MAX} gateway keys at most. Revoke some.`
      throw new InvalidRequestError(message, null, 'too_many_keys')
    }
    return { ...record, key }
  }

  /** All keys of all tenants, oldest first. */
  async function all(): Promise<ApiKey[]> {
    const found = new Map<string, ApiKey>()
    for await (const entries of redis.hscanStream(keys.apiKeys, { count: SCAN_COUNT })) {
      // Field, value, field, value.
      const texts = (entries as string[]).filter((_, place) => place % 2 === 1)
      for (const record of texts.map(parse)) found.set(record.id, record)
    }
    return [...found.values()].toSorted((a, b) => a.created_at - b.created_at)
  }

  /** A tenant's keys, newest first. Null when `after` is none of its ids. */
  async function list(
    tenant: string,
    { after, limit }: { after?: string | undefined; limit: number },
  ): Promise<ApiKeyPage | null> {
    const index = keys.apiKeysOf(tenant)
    const rank = after === undefined ? -1 : await redis.zrevrank(index, after)
    if (rank === null) return null
    const keyIds = await redis.zrevrange(index, rank + 1, rank + 1 + limit)
    const found = await Promise.all(keyIds.slice(0, limit).map(get))
    return { apiKeys: found.flatMap((key) => key ?? []), hasMore: keyIds.length > limit }
  }

  async function get(id: string): Promise<ApiKey | null> {
    const hash = await redis.hget(keys.apiKeyHashes, id)
    return hash === null ? null : find(hash)
  }

  /**
   * Changes what a key is for, at once in every process. Null: there is no such key.
   * @throws {InvalidRequestError}
   */
  async function update(id: string, settings: ApiKeySettings): Promise<ApiKey | null> {
    const changed = await change(id, (before) => {
      const after = { ...before, ...settings }
      check(settings, after)
      return after
    })
    return changed && changed.after
  }

  /** Ends a key at once in every process. False: no key has this id. */
  async function revoke(id: string): Promise<boolean> {
    return (await change(id, () => null)) !== null
  }

  /** Ends all keys of a tenant. */
  async function revokeAll(tenant: string): Promise<void> {
    const keyIds = await redis.zrevrange(keys.apiKeysOf(tenant), 0, -1)
    await Promise.all(keyIds.map((id) => revoke(id)))
  }

  /** The key with this hash, if there is one. It may have expired. */
  async function find(hash: string): Promise<ApiKey | null> {
    const record = await redis.hget(keys.apiKeys, hash)
    return record === null ? null : parse(record)
  }

  // Keys of before stand in no index.
  async function hashOfOld(id: string): Promise<string | null> {
    for await (const entries of redis.hscanStream(keys.apiKeys, { count: SCAN_COUNT })) {
      const fields = entries as string[] // field, value, field, value
      const place = fields.findIndex((text, index) => index % 2 === 1 && parse(text).id === id)
      if (place !== -1) return fields[place - 1] ?? null
    }
    return null
  }

  /** Null: there is no such key. `after` null: there is none any more. */
  async function change<After extends ApiKey | null>(
    id: string,
    next: (before: ApiKey) => After,
  ): Promise<{ after: After } | null> {
    const hash = (await redis.hget(keys.apiKeyHashes, id)) ?? (await hashOfOld(id))
    if (hash === null) return null
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const read = await redis.hget(keys.apiKeys, hash)
      if (read === null) return null
      const before = parse(read)
      const after = next(before)
      const written = after === null ? '' : JSON.stringify(after)
      if ((await write(before, { hash, read, written })) === 'written') return { after }
    }
    throw new Error('A gateway key was changed by others again and again.')
  }

  async function write(
    { id, tenant }: ApiKey,
    { hash, read, written }: { hash: string; read: string; written: string },
  ): Promise<string> {
    const said = await setApiKey(
      [keys.apiKeys, keys.apiKeyHashes, keys.apiKeysOf(tenant)],
      [hash, id, read, written, Date.now(), KEYS_MAX, keys.apiKeysChannel],
    )
    return String(said)
  }

  return { create, all, list, get, update, revoke, revokeAll, find }
}

export type ApiKeys = ReturnType<typeof createApiKeys>

function check(
  { expires_at: expiresAt = null }: ApiKeySettings,
  { scopes, models, endpoints }: ApiKey,
): void {
  for (const [index, path] of (endpoints ?? []).entries()) findEndpoint(path, `endpoints[${index}]`)
  if (hasExpired({ expires_at: expiresAt })) {
    throw new InvalidRequestError('`expires_at` is in the past. Give Unix seconds to come.', 'expires_at')
  }
  if (!scopes.includes('admin') || (models === null && endpoints === null)) return
  const message =
    "A key with the scope `admin` can make keys for anything: it can't be for some `models` or `endpoints` only."
  throw new InvalidRequestError(message, models === null ? 'endpoints' : 'models')
}

function parse(text: string): ApiKey {
  return ApiKey.parse(JSON.parse(text))
}
