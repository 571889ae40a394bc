import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { findEndpoint, readCompletion } from '../../shared/completion-body.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import type { JobView, Jobs } from '../../shared/jobs.ts'
import { JobRequest } from '../../shared/schemas/completion.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Job } from '../../shared/schemas/job.ts'
import { waitForEnd, type SettledListener } from '../../shared/settled.ts'
import { acceptAndSend } from '../acceptance.ts'
import type { Holds } from '../holds.ts'
import { missingJob, sendAccepted, sendJob, sendResult } from '../job-replies.ts'
import { JobList, JobListQuery, readJobFilter, toJobList } from '../job-list.ts'
import { parsePrefer } from '../prefer.ts'
import { prepareJob, type SubmissionDeps } from '../submission.ts'

const WAIT_MAX_S = 60

export type JobRouteDeps = SubmissionDeps & { jobs: Jobs; settled: SettledListener; holds: Holds }

const JobParams = z.object({ id: z.string() })
const WaitQuery = z.object({
  wait: z.coerce.number().min(0).optional().describe('Seconds to wait for the end, at most 60.'),
})
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['jobs']

/** `/jobs`: submit, read (with long-poll), result, list, cancel. */
export function addJobRoutes(app: FastifyInstance, deps: JobRouteDeps): void {
  const { jobs, ids } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const submitSchema = {
    summary: 'Submit a job',
    tags,
    body: JobRequest,
    response: { 202: Job, ...errors },
  }
  routes.post('/jobs', { schema: submitSchema }, async (request, reply) => {
    const { endpoint: path, body, customer = null, ...options } = request.body
    refuseOptions(body)
    const endpoint = findEndpoint(path)
    const completion = readCompletion(endpoint, body, 'body')
    const input = prepareJob(
      {
        request,
        mode: 'async',
        endpoint,
        path: '/v1/jobs',
        body: completion,
        customer,
        options,
        bodyPath: 'body.',
        optionsPath: '',
      },
      deps,
    )
    return acceptAndSend(reply, input, deps)
  })

  const listSchema = {
    summary: 'List jobs, newest first',
    description:
      'Filter by metadata with `metadata[key]=value`. One call looks at no more than 10,000 jobs: a short page with `has_more` goes on at `last_id`.',
    tags,
    querystring: JobListQuery,
    response: { 200: JobList, ...errors },
  }
  routes.get('/jobs', { schema: listSchema }, async (request, reply) => {
    const filter = readJobFilter(request.query)
    const hold = deps.holds.hold(reply)
    const page = await jobs.list(request.tenant, filter, hold.signal).finally(hold.release)
    if (!page) {
      const param = filter.after === undefined ? 'before' : 'after'
      throw new InvalidRequestError(`\`${param}\` is no id of a job that can still be listed.`, param)
    }
    return toJobList(page, filter)
  })

  const readSchema = {
    summary: 'Read a job, or wait for its end',
    description:
      '`?wait=N` or `Prefer: wait=N` answers as soon as the job ends, at the latest after N seconds.',
    tags,
    params: JobParams,
    querystring: WaitQuery,
    response: { 200: Job, ...errors },
  }
  routes.get('/jobs/:id', { schema: readSchema }, async (request, reply) => {
    const preferred = parsePrefer(request.headers.prefer).waitSeconds
    const waitSeconds = Math.min(request.query.wait ?? preferred ?? 0, WAIT_MAX_S)
    if (request.query.wait === undefined && preferred !== null) {
      void reply.header('preference-applied', `wait=${waitSeconds}`)
    }
    void reply.header('vary', 'Prefer')
    const { id } = request.params
    if (waitSeconds === 0) return sendJob(reply, await readJob(request, id))
    return sendJob(reply, await waitForJob(request, reply, id, waitSeconds * 1000))
  })

  const resultSchema = {
    summary: "Read a job's result as the provider gave it",
    description: "The provider's body with its status; 202 and the job while it is not done.",
    tags,
    params: JobParams,
    response: { 200: z.unknown(), 202: Job, ...errors },
  }
  routes.get('/jobs/:id/result', { schema: resultSchema }, async (request, reply) => {
    const view = await readJob(request, request.params.id)
    return view.isTerminal ? sendResult(reply, view) : sendAccepted(reply, view.job)
  })

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

  async function readJob({ tenant }: FastifyRequest, id: string): Promise<JobView> {
    // Only our own ids are made into keys of Redis.
    const view = ids.isOwnJobId(tenant, id) ? await jobs.read(tenant, id) : null
    if (!view) throw missingJob(ids, tenant, id)
    return view
  }

  async function waitForJob(
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    waitMs: number,
  ): Promise<JobView> {
    const watch = deps.settled.watch(id)
    const hold = deps.holds.hold(reply)
    try {
      const read = () => readJob(request, id)
      const view = await waitForEnd({ watch, read, waitMs, signal: hold.signal })
      if (!view) throw missingJob(ids, request.tenant, id)
      return view
    } finally {
      watch.close()
      hold.release()
    }
  }
}

// They stand beside the body here; inside they would go to the provider.
function refuseOptions(body: Record<string, unknown>): void {
  if ('job' in body) {
    throw new InvalidRequestError('Give the options of `body.job` beside `body`.', 'body.job')
  }
  if ('customer' in body) {
    throw new InvalidRequestError('Give `customer` beside `body`, not in it.', 'body.customer')
  }
}
