import type { FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import type { Capacity } from '../../shared/capacity.ts'
import { redisNowMs } from '../../shared/redis.ts'
import type { NotReady, Readiness } from '../readiness.ts'

/**
 * `/healthz`: the process is up. `/readyz`: Redis answers, and what waits gets ahead; else 503 with the reasons. One that takes
 * nothing more is still read from, so it stays ready and says so (`storage`).
 */
export function addHealthRoutes(
  app: FastifyInstance,
  {
    redis,
    capacity,
    readiness,
  }: { redis: Redis; capacity: Pick<Capacity, 'state'>; readiness: Pick<Readiness, 'reasons'> },
): void {
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', async (_request, reply) => {
    // A Redis that can't save refuses a PING.
    const isThere = await redisNowMs(redis).then(
      () => true,
      () => false,
    )
    const reasons: NotReady[] = isThere ? readiness.reasons() : ['redis_unreachable']
    const storage = capacity.state()
    if (reasons.length === 0) return { status: 'ok', storage }
    return reply.code(503).header('retry-after', '2').send({ status: 'unavailable', storage, reasons })
  })
}
