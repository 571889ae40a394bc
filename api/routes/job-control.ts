import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { ConflictError, InvalidRequestError } from '../../shared/errors.ts'
import type { JobInput, Jobs } from '../../shared/jobs/jobs.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import {
  BulkCancelled,
  BulkCancelRequest,
  BulkRetried,
  BulkRetryRequest,
  JobRetryRequest,
} from '../../shared/schemas/job-control.ts'
import { Job } from '../../shared/schemas/job.ts'
import { acceptAndSend, acceptJob } from '../acceptance.ts'
import { cancelFilter, doWithAll, retryFilter } from '../bulk.ts'
import type { Holds } from '../holds.ts'
import { missingJob, sendJob } from '../job-replies.ts'
import { prepareRetry } from '../job-retry.ts'
import { traceSubmit } from '../plugins/tracing.ts'
import type { Presence } from '../presence.ts'
import type { SubmissionDeps } from '../submission.ts'

export type JobControlDeps = SubmissionDeps & { jobs: Jobs; holds: Holds; presence: Presence }

const JobParams = z.object({ id: z.string() })
const Deleted = z.object({ id: z.string(), object: z.literal('job'), deleted: z.literal(true) })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['jobs']

/** What is done to jobs that are there: cancel, delete, retry; cancel and retry of all that match. */
export function addJobControlRoutes(app: FastifyInstance, deps: JobControlDeps): void {
  const { jobs, ids } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const cancelSchema = {
    summary: 'Cancel a job',
    description: 'A job that has ended stays as it is.',
    tags,
    params: JobParams,
    response: { 200: Job, ...errors },
  }
  routes.post('/jobs/:id/cancel', { schema: cancelSchema }, async (request, reply) => {
    const { id } = request.params
    const view = ids.isOwnJobId(request.tenant, id) ? await jobs.cancel(request.tenant, id) : null
    if (!view) throw missingJob(ids, request.tenant, id)
    return sendJob(reply, view)
  })

  const deleteSchema = {
    summary: 'Delete a job',
    description:
      'Takes it away with its prompt, its result and its stream, at once; one that runs is cancelled. No webhook is told of it any more, and it is read as purged (410).',
    tags,
    params: JobParams,
    response: { 200: Deleted, ...errors },
  }
  routes.delete('/jobs/:id', { schema: deleteSchema }, async (request) => {
    const { id } = request.params
    const isRemoved = ids.isOwnJobId(request.tenant, id) && (await jobs.remove(request.tenant, id))
    if (!isRemoved) throw missingJob(ids, request.tenant, id)
    return { id, object: 'job' as const, deleted: true as const }
  })

  const retrySchema = {
    summary: 'Run an ended job again',
    description:
      'Makes a new job of what a failed, expired or cancelled one asked, once; each of the two names the other (`retry_of`, `retried_by`). Credentials were erased by then: give fresh ones. Options may be given anew; those that are left out are as before, except for the webhook.',
    tags,
    params: JobParams,
    body: JobRetryRequest.nullish(),
    response: { 202: Job, ...errors },
  }
  routes.post('/jobs/:id/retry', { schema: retrySchema }, async (request, reply) => {
    return acceptAndSend(reply, await retryOf(request, request.params.id, request.body ?? {}), deps)
  })

  const bulkCancelSchema = {
    summary: 'Cancel all jobs that match',
    description:
      'Newest first, at most `limit` in one call and among at most 10,000 that are looked at: while `has_more` is true, call again with `after: last_id`.',
    tags,
    body: BulkCancelRequest,
    response: { 202: BulkCancelled, ...errors },
  }
  routes.post('/jobs/cancel', { schema: bulkCancelSchema }, async (request, reply) => {
    const { tenant } = request
    const filter = cancelFilter(request.body)
    const hold = deps.holds.hold(reply)
    const outcome = await doWithAll(jobs, { tenant, filter, signal: hold.signal }, async ({ id }) => {
      const view = await jobs.cancel(tenant, id)
      const isCancelled = view?.job.status === 'cancelled' || view?.job.status === 'cancelling'
      if (!isCancelled) throw new ConflictError('It ended before it could be cancelled.', 'job_ended')
    }).finally(hold.release)
    if (!outcome) throw unknownPlace()
    const { done, ...others } = toBulk(outcome)
    return reply.code(202).send({ ...others, cancelled: done })
  })

  const bulkRetrySchema = {
    summary: 'Run all ended jobs that match again',
    description:
      'As a retry of each, newest first; jobs that were retried before are passed over. Credentials and options hold for all of them.',
    tags,
    body: BulkRetryRequest,
    response: { 202: BulkRetried, ...errors },
  }
  routes.post('/jobs/retry', { schema: bulkRetrySchema }, async (request, reply) => {
    const { tenant } = request
    const { filter: _filter, limit: _limit, after: _after, ...given } = request.body
    const filter = retryFilter(request.body)
    const hold = deps.holds.hold(reply)
    const outcome = await doWithAll(jobs, { tenant, filter, signal: hold.signal }, async ({ id }) => {
      await traceSubmit(request, 'job', await retryOf(request, id, given), (input) => acceptJob(jobs, input))
    }).finally(hold.release)
    if (!outcome) throw unknownPlace()
    const { done, ...others } = toBulk(outcome)
    return reply.code(202).send({ ...others, retried: done })
  })

  async function retryOf(request: FastifyRequest, id: string, given: JobRetryRequest): Promise<JobInput> {
    const { tenant } = request
    // Only our own ids are made into keys of Redis.
    const source = ids.isOwnJobId(tenant, id) ? await jobs.readForRetry(tenant, id) : null
    if (!source) throw missingJob(ids, tenant, id)
    return prepareRetry(request, given, source, deps)
  }
}

function toBulk({ hasMore, lastId, ...others }: NonNullable<Awaited<ReturnType<typeof doWithAll>>>) {
  return { object: 'bulk' as const, ...others, has_more: hasMore, last_id: lastId }
}

function unknownPlace(): InvalidRequestError {
  return new InvalidRequestError('`after` is no id of a job that can still be listed.', 'after')
}
