import { hash as digest, randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { z } from 'zod'
import { InvalidRequestError } from './errors.ts'
import type { Keys } from './keys.ts'

/** The tenant of the master key. */
export const MASTER_TENANT = 'default'

/** What a key may be used for: to submit and change, to read, to administer its own tenant. */
export const SCOPES = ['submit', 'read', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

const TENANT = /^[A-Za-z0-9_-]{1,64}$/

/** A gateway key as stored: everything but the key itself. */
export const ApiKey = z.object({
  id: z.string(),
  tenant: z.string(),
  name: z.string().nullable(),
  /** First and last characters, to tell keys apart in a list. */
  hint: z.string(),
  /** Unix seconds. */
  created_at: z.number().int(),
})
export type ApiKey = z.infer<typeof ApiKey>

/**
 * What a gateway key is found by: hex SHA-256. A plain hash is enough here: a key is 256 random bits, so there is
 * nothing to guess that a slow or salted hash would make dearer, and every API call pays for it.
 */
export function hashApiKey(key: string): string {
  return digest('sha256', key)
}

/** The store of tenants' gateway keys. Every change is published, so that no process goes on with what it remembers. */
export function createApiKeys({ redis, keys }: { redis: Redis; keys: Keys }) {
  return {
    /**
     * Makes a key. The returned `key` is the only copy.
     * @throws {InvalidRequestError} for a tenant that is not 1 to 64 letters, digits, `_` or `-`.
     */
    async create(tenant: string, name: string | null = null): Promise<ApiKey & { key: string }> {
      if (!TENANT.test(tenant)) {
        throw new InvalidRequestError('A tenant is 1 to 64 letters, digits, "_" or "-".', 'tenant')
      }
      const key = `sk-${randomBytes(32).toString('base64url')}`
      const record: ApiKey = {
        id: `key_${randomBytes(9).toString('hex')}`,
        tenant,
        name,
        hint: `${key.slice(0, 6)}…${key.slice(-4)}`,
        created_at: Math.floor(Date.now() / 1000),
      }
      await redis.hset(keys.apiKeys, hashApiKey(key), JSON.stringify(record))
      await redis.publish(keys.apiKeysChannel, record.id)
      return { ...record, key }
    },

    /** All keys that work, oldest first. */
    async list(): Promise<ApiKey[]> {
      const records = await redis.hvals(keys.apiKeys)
      return records.map(parseRecord).toSorted((a, b) => a.created_at - b.created_at)
    },

    /** Ends a key at once in every process. False: no key has this id. */
    async revoke(id: string): Promise<boolean> {
      const entries = Object.entries(await redis.hgetall(keys.apiKeys))
      const hash = entries.find(([, record]) => parseRecord(record).id === id)?.[0]
      if (!hash) return false
      const removed = await redis.hdel(keys.apiKeys, hash)
      await redis.publish(keys.apiKeysChannel, id)
      return removed > 0
    },

    /** The key with this hash, if it works. */
    async find(hash: string): Promise<ApiKey | null> {
      const record = await redis.hget(keys.apiKeys, hash)
      return record === null ? null : parseRecord(record)
    },
  }
}

export type ApiKeys = ReturnType<typeof createApiKeys>

function parseRecord(text: string): ApiKey {
  return ApiKey.parse(JSON.parse(text))
}
