import type { FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'

/** `/healthz`: the process is up. `/readyz`: it can take jobs; 503 while Redis does not answer. */
export function addHealthRoutes(app: FastifyInstance, redis: Redis): void {
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', async () => {
    await redis.ping()
    return { status: 'ok' }
  })
}
