import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from './log.ts'
import { ConfigError } from './errors.ts'

/**
 * What a connection is for. `commands` fails at once while Redis is away, so that an API call answers 503 in under a
 * second; `blocking` (BullMQ workers, subscribers) waits for Redis to come back.
 */
export type RedisRole = 'commands' | 'blocking'

const COMMAND_TIMEOUT_MS = 900

/**
 * Opens a connection to `REDIS_URL`: `redis://`, `rediss://`, `unix:///path/to.sock`,
 * `redis+sentinel://h1:26379,h2:26379/NAME`, `redis+cluster://h1:6379,h2:6379`. The caller closes it.
 * @throws {ConfigError} for any other form.
 */
export function createRedis(url: string, role: RedisRole, log: Logger): Redis {
  const options: RedisOptions = {
    maxRetriesPerRequest: role === 'blocking' ? null : 1,
    enableOfflineQueue: role === 'blocking',
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 1000),
    ...(role === 'commands'
      ? { commandTimeout: COMMAND_TIMEOUT_MS, connectTimeout: COMMAND_TIMEOUT_MS }
      : {}),
  }
  const redis = connect(url, options)
  redis.on('connect', () => joinWrites(redis.stream))
  let isDown = false
  redis.on('error', (error: Error) => {
    if (!isDown) log.warn({ err: error }, 'Redis is not reachable; trying again until it is')
    isDown = true
  })
  redis.on('ready', () => {
    if (isDown) log.info('Redis is reachable again')
    isDown = false
  })
  return redis
}

/** Redis' clock, in milliseconds. */
export async function redisNowMs(redis: Redis): Promise<number> {
  const [seconds = 0, microseconds = 0] = (await redis.call('TIME')) as string[] // two decimal strings
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)
}

// Commands of one turn of the event loop leave in one write, whichever callback gave them: a system call costs more than
// most of them, and wakes Redis.
function joinWrites(stream: Redis['stream']): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
  let isHeld = false
  stream.write = (...args: unknown[]) => {
    if (!isHeld) {
      isHeld = true
      stream.cork()
      setImmediate(() => {
        isHeld = false
        stream.uncork()
      })
    }
    return write(...args)
  }
}

function connect(url: string, options: RedisOptions): Redis {
  const [scheme = '', rest = ''] = url.split('://')
  if (scheme === 'redis' || scheme === 'rediss') return new Redis(url, options)
  if (scheme === 'unix') return new Redis({ ...options, path: decodeURIComponent(rest) })
  const [hosts = '', name] = rest.split('/')
  const nodes = hosts.split(',').map((item) => {
    const [host = '', port = ''] = item.split(':')
    return { host, port: Number(port) || (scheme === 'redis+sentinel' ? 26_379 : 6379) }
  })
  if (scheme === 'redis+sentinel' && name) return new Redis({ ...options, sentinels: nodes, name })
  if (scheme === 'redis+cluster') {
    const cluster = new Cluster(nodes, {
      redisOptions: options,
      enableOfflineQueue: options.enableOfflineQueue,
    })
    // ioredis types the two apart, though both carry the same commands; nothing here uses what only one has.
    return cluster as unknown as Redis
  }
  throw new ConfigError(
    'REDIS_URL must be redis://, rediss://, unix://, redis+sentinel://host:port,.../NAME or redis+cluster://host:port,...',
  )
}
