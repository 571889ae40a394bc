import type { FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import type { Capacity } from '../../shared/capacity.ts'
import { redisNowMs } from '../../shared/redis.ts'

/**
 * `/healthz`: the process is up. `/readyz`: Redis answers; else 503. One that takes nothing more is still read from, so it stays
 * ready and says so (`storage`).
 */
export function addHealthRoutes(
  app: FastifyInstance,
  { redis, capacity }: { redis: Redis; capacity: Pick<Capacity, 'state'> },
): void {
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', async () => {
    // A Redis that can't save refuses a PING.
    await redisNowMs(redis)
    return { status: 'ok', storage: capacity.state() }
  })
}
