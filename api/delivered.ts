import type { FastifyInstance, FastifyReply } from 'fastify'
import type { JobView, Jobs } from '../shared/jobs/jobs.ts'

declare module 'fastify' {
  interface FastifyReply {
    /** The job whose result this answer brings, when that is kept no longer than until it was delivered. */
    delivers: string | null
  }
}

/** Notes that an answer brings how a job ended. */
export function noteDelivery(reply: FastifyReply, { job, isTerminal, resultTtlMs }: JobView): void {
  if (isTerminal && resultTtlMs === 0) reply.delivers = job.id
}

/** Lets jobs with `result_ttl: 0` go when an answer with their result has gone out in whole. */
export function addDelivered(app: FastifyInstance, jobs: Pick<Jobs, 'release'>): void {
  app.decorateReply('delivers', null)
  app.addHook('onResponse', async (_request, reply) => {
    if (reply.delivers === null || reply.raw.errored) return
    // With Redis away it stays a minute, as one that nobody reads.
    await jobs.release(reply.delivers).catch(() => undefined)
  })
}
