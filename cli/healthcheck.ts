import { once } from 'node:events'
import { hostname } from 'node:os'
import { createKeys } from '../shared/keys.ts'
import { createLog } from '../shared/log.ts'
import { createRedis } from '../shared/redis.ts'

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
    const keys = createKeys(process.env.GATEWAY_KEY_PREFIX || 'byok')
    const [seconds] = await redis.time()
    const alive = await redis.zrangebyscore(keys.workers, Number(seconds) * 1000 - SILENCE_MS_MAX, '+inf')
    return alive.some((id) => id.startsWith(`w-${hostname()}-`))
  } finally {
    redis.disconnect()
  }
}
