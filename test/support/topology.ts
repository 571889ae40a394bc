import { Readable } from 'node:stream'
import { Cluster, Redis } from 'ioredis'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'
import { startRedisCluster } from './redis-cluster.ts'
import { startRedisProcess } from './redis-process.ts'
import { startRedisSentinel } from './redis-sentinel.ts'

/**
 * Starts what the tests of a run share: one Redis, or what `TEST_REDIS_TOPOLOGY` asks for, a `cluster` of three masters or a
 * `sentinel` topology. The caller stops it.
 * @param command the redis-server binary or launcher.
 */
export async function startTopology(
  command: string,
  topology: string | undefined,
): Promise<{ url: string; stop: () => Promise<void> }> {
  // A busy machine stands still for seconds: nobody is to be replaced for that.
  if (topology === 'cluster') return startRedisCluster(command, { nodeTimeoutMs: 30_000 })
  if (topology === 'sentinel') return startRedisSentinel(command, { downAfterMs: 30_000 })
  if (topology) throw new Error('TEST_REDIS_TOPOLOGY is cluster or sentinel, or not set.')
  return startRedisProcess(command, 'off')
}

/** A test's own connection to whatever the URL names. The caller closes it. */
export function openRedis(url: string): Redis {
  if (!url.startsWith('redis+')) return new Redis(url, { maxRetriesPerRequest: 3 })
  const redis = createRedis(url, 'blocking', createLog('silent', 'test'))
  const server: object = redis
  return server instanceof Cluster ? askAllNodes(redis, server) : redis
}

// What tests ask of the whole database, and a cluster's client of whichever node.
function askAllNodes(redis: Redis, cluster: Cluster): Redis {
  const all = <T>(ask: (node: Redis) => Promise<T>) => Promise.all(cluster.nodes('master').map(ask))
  async function* scan(options: Parameters<Redis['scanStream']>[0]) {
    for (const node of cluster.nodes('master')) yield* node.scanStream(options)
  }
  return Object.assign(redis, {
    keys: async (pattern: string) => (await all((node) => node.keys(pattern))).flat(),
    info: async (section: string) => (await all((node) => node.info(section))).join('\n'),
    config: (...args: ['SET', string, string]) => all((node) => node.config(...args)),
    scanStream: (options: Parameters<Redis['scanStream']>[0]) => Readable.from(scan(options)),
  })
}
