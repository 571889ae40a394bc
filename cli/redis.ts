import { once } from 'node:events'
import type { Redis } from 'ioredis'
import { ConfigError } from '../shared/errors.ts'
import { createKeys, type Keys } from '../shared/keys.ts'
import { createLog } from '../shared/log.ts'
import { createRedis } from '../shared/redis.ts'
import { findEmbeddedRedis } from './embedded-redis.ts'
import { readFolders, type Environment } from './settings.ts'

const DEFAULT_KEY_PREFIX = 'byok'
/** What is typed is not tried again by itself: it waits longer for a busy Redis than a process does that has calls to answer. */
const TIMEOUT_MS = 10_000

/**
 * Does some work on the Redis of `REDIS_URL`, else on that of the gateway that runs on the data folder.
 * @throws {ConfigError} when there is none.
 */
export async function withRedis(
  environment: Environment,
  work: (redis: Redis, keys: Keys) => Promise<void>,
): Promise<void> {
  const { dataDir } = readFolders(environment)
  const url = environment.REDIS_URL || (await findEmbeddedRedis(dataDir))
  if (!url) {
    const message = `No gateway runs on the data folder ${dataDir}.`
    throw new ConfigError(
      `${message} Start it (npm start), or set GATEWAY_DATA_DIR or REDIS_URL to the right one.`,
    )
  }
  const redis = createRedis(url, 'commands', createLog('silent', 'cli'), TIMEOUT_MS)
  try {
    await once(redis, 'ready').catch((error: unknown) => {
      throw new ConfigError(`Redis can't be reached: ${error instanceof Error ? error.message : 'no reason'}`)
    })
    await work(redis, createKeys(environment.GATEWAY_KEY_PREFIX || DEFAULT_KEY_PREFIX))
  } finally {
    redis.disconnect()
  }
}
