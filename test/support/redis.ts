import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import { removeKeys, startRedisProcess, type Durability, type RedisProcess } from './redis-process.ts'
import { openRedis } from './topology.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Of the run's Redis. */
    redisUrl: string
    /** The redis-server binary or launcher, for tests that need one of their own; null when there is none. */
    redisServer: string | null
    /** Removed at the end of the run, with all that lies in it. */
    runFolder: string
  }
}

/**
 * The run's Redis, with a key prefix that nobody else uses and a connection to it.
 * `cleanup` removes all keys under the prefix and closes the connection.
 */
export function testRedis() {
  const url = inject('redisUrl')
  const prefix = `t-${randomBytes(8).toString('hex')}`
  const redis = openRedis(url)
  return {
    url,
    prefix,
    redis,
    async cleanup() {
      await removeKeys(redis, prefix)
      redis.disconnect()
    },
  }
}

export type TestRedis = ReturnType<typeof testRedis>

/** A Redis of the test's own, to kill and start again. The caller stops it. */
export async function startRedis(
  durability: Durability = 'off',
  extra: Record<string, string> = {},
): Promise<RedisProcess> {
  return startRedisProcess(redisCommand(), durability, extra)
}

/** The redis-server binary or launcher, for what a test starts of its own. */
export function redisCommand(): string {
  const command = inject('redisServer')
  if (!command) throw new Error('No redis-server was found; this test needs one of its own to kill.')
  return command
}

/** Whether tests that kill Redis can run here; `reason` says why not. */
export function ownRedis(): { isPossible: boolean; reason: string } {
  const isPossible = inject('redisServer') !== null
  return { isPossible, reason: isPossible ? '' : 'only a foreign Redis (TEST_REDIS_URL) is at hand' }
}
