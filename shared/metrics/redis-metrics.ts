import type { Redis } from 'ioredis'
import { infoOfNodes, redisNowMs } from '../redis.ts'
import { readMemory } from '../redis-memory.ts'
import type { Metrics } from './registry.ts'

const PROBE_EVERY_MS = 2_000
const ROUND_TRIP_BUCKETS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1]

/**
 * How Redis answers this process: one small command every two seconds, and connections that were lost.
 * @param connections All of this process.
 * @returns how to stop.
 */
export function watchRedis(metrics: Metrics, redis: Redis, connections: readonly Redis[]): () => void {
  const isUp = metrics.gauge('redis_up', '1 while Redis answers this process, else 0.')
  const roundTrip = metrics.histogram(
    'redis_round_trip_seconds',
    'Until a small command of its own, every two seconds, was answered.',
    [],
    ROUND_TRIP_BUCKETS,
  )
  const reconnects = metrics.counter(
    'redis_reconnects_total',
    'Connections to Redis that had to be made anew.',
  )
  const noteReconnect = () => reconnects.inc()
  for (const connection of connections) connection.on('reconnecting', noteReconnect)

  async function probe(): Promise<void> {
    const startedAt = performance.now()
    try {
      await redisNowMs(redis)
      roundTrip.observe((performance.now() - startedAt) / 1_000)
      isUp.set(1)
    } catch {
      isUp.set(0)
    }
  }

  void probe()
  const timer = setInterval(() => void probe(), PROBE_EVERY_MS)
  return () => {
    clearInterval(timer)
    for (const connection of connections) connection.off('reconnecting', noteReconnect)
  }
}

/** What a step of Redis that writes to its disk came to, by the field of `INFO persistence` that says so. */
const STEPS = {
  aof_write: 'aof_last_write_status',
  aof_rewrite: 'aof_last_bgrewrite_status',
  snapshot: 'rdb_last_bgsave_status',
}

/**
 * How full Redis is and whether it can save, read at each scrape by `INFO`: of a cluster the fullest node, and whatever one of
 * them says of its disk.
 * @param bytesMax The maximum where Redis has no `maxmemory`; null: there is none.
 */
export function showRedisState(metrics: Metrics, redis: Redis, bytesMax: number | null): void {
  const used = metrics.gauge('redis_memory_bytes', 'Memory of Redis, as it counts against its maximum.')
  const max = metrics.gauge('redis_memory_max_bytes', 'Its maximum; absent without one.')
  const aof = metrics.gauge('redis_aof_enabled', '1 with an append-only file, 0 without.')
  const ok = metrics.gauge('redis_persistence_ok', '1 when the last such step succeeded, else 0.', ['step'])
  metrics.beforeScrape(async () => {
    for (const gauge of [used, max, aof]) gauge.remove()
    ok.reset()
    try {
      const [memory, infos] = await Promise.all([readMemory(redis), infoOfNodes(redis, 'persistence')])
      used.set(memory.usedBytes)
      const limit = memory.bytesMax ?? bytesMax
      if (limit !== null) max.set(limit)
      aof.set(infos.every((info) => /^aof_enabled:1/m.test(info)) ? 1 : 0)
      for (const [step, field] of Object.entries(STEPS)) {
        ok.set({ step }, infos.some((info) => info.includes(`${field}:err`)) ? 0 : 1)
      }
    } catch {
      // Away: `redis_up` says so, and these are absent.
    }
  })
}
