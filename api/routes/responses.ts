import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { InvalidRequestError, NotFoundError } from '../../shared/errors.ts'
import type { JobView } from '../../shared/jobs/jobs.ts'
import { jobIdOfResponse } from '../../shared/jobs/response-ids.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { acceptCall } from '../acceptance.ts'
import type { CallDeps, Calls } from '../calls.ts'
import { callSchema } from '../call-schemas.ts'
import { followJob } from '../following.ts'
import { noteJob } from '../job-replies.ts'
import { prepareResponse } from '../responses.ts'
import { listedItems } from '../response-input.ts'
import { describeResponse, responseOf } from '../response-object.ts'
import { afterSequence } from '../stream-events.ts'
import { sendStream } from '../streaming.ts'

const PATH = '/v1/responses'
const LIST_DEFAULT = 20

const ResponseParams = z.object({ id: z.string() })
const RetrieveQuery = z.object({
  stream: z.stringbool().optional(),
  starting_after: z.coerce.number().int().min(-1).optional(),
})
const ItemsQuery = z.object({
  limit: z.coerce.number().int().min(1).max(100).default(LIST_DEFAULT),
  order: z.enum(['asc', 'desc']).default('desc'),
  after: z.string().optional(),
})
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const Response = z.looseObject({})
const tags = ['responses']

/** OpenAI's Responses: create (in the background too), retrieve (as a stream too), cancel, delete, list what was asked. */
export function addResponseRoutes(app: FastifyInstance, calls: Calls, deps: CallDeps): void {
  const { jobs, ids } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const config = { isFoundAgain: true }
  routes.post('/responses', { schema: callSchema('responses'), config }, async (request, reply) => {
    const { body, isBackground } = await prepareResponse(request.body, request.tenant, deps)
    const call = { endpoint: 'responses' as const, body, isBackground }
    if (isBackground && body.stream !== true) await answerQueued(request, reply, call)
    else await calls.answer(request, reply, call)
    return reply
  })

  const retrieveSchema = {
    summary: 'Retrieve a response',
    description:
      '`stream=true` sends its events from the first, or from behind `starting_after`, and goes on with those to come.',
    tags,
    params: ResponseParams,
    querystring: RetrieveQuery,
    response: { 200: Response, ...errors },
  }
  routes.get('/responses/:id', { schema: retrieveSchema }, async (request, reply) => {
    const view = await readResponse(request, request.params.id)
    const { stream, starting_after: after } = request.query
    if (stream !== true) return send(request, reply, view)
    const { id } = view.job
    const { tenant } = request
    const following = followJob(deps, { tenant, id, isNew: false })
    const pick = after === undefined ? {} : { pick: afterSequence(after) }
    await sendStream(reply, deps, { tenant, id, endpoint: 'responses', ...pick }, following)
    return reply
  })

  const cancelSchema = {
    summary: 'Cancel a response',
    tags,
    params: ResponseParams,
    response: { 200: Response, ...errors },
  }
  routes.post('/responses/:id/cancel', { schema: cancelSchema }, async (request, reply) => {
    const { job } = await readResponse(request, request.params.id)
    const view = await jobs.cancel(request.tenant, job.id)
    if (!view) throw new NotFoundError('response')
    return send(request, reply, view)
  })

  const deleteSchema = {
    summary: 'Delete a response',
    description: 'One that is not done is cancelled.',
    tags,
    params: ResponseParams,
    response: { 200: Response, ...errors },
  }
  routes.delete('/responses/:id', { schema: deleteSchema }, async (request, reply) => {
    const { id } = request.params
    const { job } = await readResponse(request, id)
    await jobs.remove(request.tenant, job.id)
    return reply.send({ id, object: 'response', deleted: true })
  })

  const itemsSchema = {
    summary: "List a response's input items",
    tags,
    params: ResponseParams,
    querystring: ItemsQuery,
    response: { 200: Response, ...errors },
  }
  routes.get('/responses/:id/input_items', { schema: itemsSchema }, async (request, reply) => {
    const { job } = await readResponse(request, request.params.id)
    const asked = await jobs.readRequest(request.tenant, job.id)
    if (!asked) {
      const message = 'The input of this response is not kept: it was made with `store: false`.'
      throw new InvalidRequestError(message, null, 'input_not_kept')
    }
    const { limit, order, after } = request.query
    const all = listedItems(job.id, asked['input'])
    const sorted = order === 'asc' ? all : all.toReversed()
    const start = after === undefined ? 0 : sorted.findIndex((item) => item['id'] === after) + 1
    if (after !== undefined && start === 0) {
      throw new InvalidRequestError('`after` is no id of an input item of this response.', 'after')
    }
    const data = sorted.slice(start, start + limit)
    const [first_id, last_id] = [data[0]?.['id'] ?? null, data.at(-1)?.['id'] ?? null]
    return reply.send({ object: 'list', data, first_id, last_id, has_more: start + limit < sorted.length })
  })

  /** Answers at once with a Response that is queued. */
  async function answerQueued(
    request: FastifyRequest,
    reply: FastifyReply,
    call: Parameters<Calls['prepare']>[1],
  ): Promise<FastifyReply> {
    const input = await calls.prepare(request, call, 'async')
    const accepted = await acceptCall(reply, input, deps)
    if (accepted.kind === 'created') {
      // Not read again: it may run by now, and clients of OpenAI's look for `queued`.
      const job = jobs.describeCreated(input, accepted.createdMs)
      noteJob(reply, job)
      return reply.send(describeResponse(job, input.body, true))
    }
    const view = await jobs.read(request.tenant, accepted.id)
    if (!view) throw new NotFoundError('response')
    return send(request, reply, view)
  }

  async function send(request: FastifyRequest, reply: FastifyReply, view: JobView): Promise<FastifyReply> {
    noteJob(reply, view.job)
    const isWhole = view.job.status === 'completed'
    const asked = isWhole ? null : await jobs.readRequest(request.tenant, view.job.id)
    return reply.send(responseOf(view, asked))
  }

  async function readResponse({ tenant }: FastifyRequest, id: string): Promise<JobView> {
    const jobId = jobIdOfResponse(id)
    const isOwn = id.startsWith('resp_') && ids.isOwnJobId(tenant, jobId)
    const view = isOwn ? await jobs.read(tenant, jobId) : null
    if (!view || view.job.endpoint !== PATH) throw new NotFoundError('response')
    return view
  }
}
