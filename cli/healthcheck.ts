import { once } from 'node:events'
import { hostname } from 'node:os'
import { createLog } from '../shared/log.ts'
import { createRedis } from '../shared/redis.ts'
import { shardKeys } from '../shared/shards.ts'

// Says by its exit code whether the API or the worker of this container is well: `node cli/healthcheck.ts api|worker`.

const SILENCE_MS_MAX = 15_000

const isHealthy = process.argv[2] === 'worker' ? await doesWorkerBeat() : await isApiReady()
process.exitCode = isHealthy ? 0 : 1

async function isApiReady(): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${process.env.PORT || '4000'}/readyz`)
  return response.ok
}

/** A worker has no port; its sign of life is its heartbeat in Redis, under an id that begins with its host's name. */
async function doesWorkerBeat(): Promise<boolean> {
  const redis = createRedis(process.env.REDIS_URL ?? '', 'commands', createLog('silent', 'healthcheck'))
  try {
    await once(redis, 'ready')
    const shards = shardKeys(
      process.env.GATEWAY_KEY_PREFIX || 'byok',
      Number(process.env.GATEWAY_SHARDS || 1),
    )
    const [seconds] = await redis.time()
    const since = Number(seconds) * 1000 - SILENCE_MS_MAX
    const alive = await Promise.all(shards.map(({ workers }) => redis.zrangebyscore(workers, since, '+inf')))
    return alive.every((ids) => ids.some((id) => id.startsWith(`w-${hostname()}-`)))
  } finally {
    redis.disconnect()
  }
}
