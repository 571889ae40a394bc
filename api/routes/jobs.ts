import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { findEndpoint, readCompletion } from '../../shared/jobs/completion-body.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import type { JobView, Jobs } from '../../shared/jobs/jobs.ts'
import { JobRequest } from '../../shared/schemas/completion.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Job } from '../../shared/schemas/job.ts'
import { waitForEnd, type SettledListener } from '../../shared/jobs/settled.ts'
import { acceptAndSend } from '../acceptance.ts'
import { etagOf, isKnownTag } from '../etag.ts'
import type { Holds } from '../holds.ts'
import { missingJob, noteJob, sendAccepted, sendJob, sendResult } from '../job-replies.ts'
import { JobList, JobListQuery, readJobFilter, toJobList } from '../job-list.ts'
import { parsePrefer } from '../prefer.ts'
import type { Presence } from '../presence.ts'
import { prepareJob, type SubmissionDeps } from '../submission.ts'

const WAIT_MAX_S = 60

export type JobRouteDeps = SubmissionDeps & {
  jobs: Jobs
  settled: SettledListener
  holds: Holds
  presence: Presence
}

const JobParams = z.object({ id: z.string() })
const WaitQuery = z.object({
  wait: z.coerce.number().min(0).optional().describe('Seconds to wait for the end, at most 60.'),
})
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['jobs']

/** `/jobs`: submit, read (with long-poll), result, list. */
export function addJobRoutes(app: FastifyInstance, deps: JobRouteDeps): void {
  const { jobs, ids } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const submitSchema = {
    summary: 'Submit a job',
    tags,
    body: JobRequest,
    response: { 202: Job, ...errors },
  }
  routes.post('/jobs', { schema: submitSchema, config: { isFoundAgain: true } }, async (request, reply) => {
    const { endpoint: path, body, customer = null, ...options } = request.body
    refuseOptions(body)
    const endpoint = findEndpoint(path)
    const completion = readCompletion(endpoint, body, 'body')
    const input = await prepareJob(
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
      '`?wait=N` or `Prefer: wait=N` answers as soon as the job ends, at the latest after N seconds. With the `ETag` of an earlier answer as `If-None-Match` it answers 304 as long as nothing has changed, and waits for any change.',
    tags,
    params: JobParams,
    querystring: WaitQuery,
    response: { 200: Job, 304: z.unknown(), ...errors },
  }
  routes.get('/jobs/:id', { schema: readSchema }, async (request, reply) => {
    const preferred = parsePrefer(request.headers.prefer).waitSeconds
    const waitSeconds = Math.min(request.query.wait ?? preferred ?? 0, WAIT_MAX_S)
    if (request.query.wait === undefined && preferred !== null) {
      void reply.header('preference-applied', `wait=${waitSeconds}`)
    }
    void reply.header('vary', 'Prefer')
    const seen =
      waitSeconds === 0
        ? await look(request, request.params.id)
        : await waitForNews(request, reply, request.params.id, waitSeconds * 1000)
    void reply.header('etag', seen.etag)
    if (!seen.isKnown) return sendJob(reply, seen.view, seen.position)
    noteJob(reply, seen.view.job)
    return reply.code(304).send()
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

  async function readJob({ tenant }: FastifyRequest, id: string): Promise<JobView> {
    // Only our own ids are made into keys of Redis.
    const view = ids.isOwnJobId(tenant, id) ? await jobs.read(tenant, id) : null
    if (!view) throw missingJob(ids, tenant, id)
    deps.presence.adopt(view)
    return view
  }

  /** A job with its place in line, and whether the client has just that already. */
  async function look(request: FastifyRequest, id: string): Promise<Look> {
    const view = await readJob(request, id)
    const position = await jobs.positionOf(view)
    const etag = etagOf(view.version, String(position))
    const isKnown = isKnownTag(request.headers['if-none-match'], etag)
    return { view, position, etag, isKnown }
  }

  /** Waits for the job's end; of one that the client knows already, for any change. */
  async function waitForNews(
    request: FastifyRequest,
    reply: FastifyReply,
    id: string,
    waitMs: number,
  ): Promise<Look> {
    const isForChange = request.headers['if-none-match'] !== undefined
    const watch = deps.settled.watch(id)
    const hold = deps.holds.hold(reply)
    try {
      const read = async () => {
        const seen = await look(request, id)
        return { ...seen, isTerminal: seen.view.isTerminal || (isForChange && !seen.isKnown) }
      }
      // Of a change nobody is told: it is looked for.
      const looked = isForChange ? { ...watch, isLookedAfter: false } : watch
      const seen = await waitForEnd({ watch: looked, read, waitMs, signal: hold.signal })
      if (!seen) throw missingJob(ids, request.tenant, id)
      return seen
    } finally {
      watch.close()
      hold.release()
    }
  }
}

type Look = { view: JobView; position: number | null; etag: string; isKnown: boolean }

// They stand beside the body here; inside they would go to the provider.
function refuseOptions(body: Record<string, unknown>): void {
  if ('job' in body) {
    throw new InvalidRequestError('Give the options of `body.job` beside `body`.', 'body.job')
  }
  if ('customer' in body) {
    throw new InvalidRequestError('Give `customer` beside `body`, not in it.', 'body.customer')
  }
}
