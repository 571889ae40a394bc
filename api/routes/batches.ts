import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { toBatch } from '../../shared/batches/batch-object.ts'
import type { BatchView } from '../../shared/batches/batch-record.ts'
import type { Batches } from '../../shared/batches/batches.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import { Batch, BatchList, BatchRequest, BatchRetryRequest } from '../../shared/schemas/batch.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { waitForEnd } from '../../shared/jobs/settled.ts'
import { acceptBatch, type BatchAcceptanceDeps } from '../batch-acceptance.ts'
import { batchEvents, batchPage, hasReadAll, type BatchEventsDeps } from '../batch-events.ts'
import { missingBatch, readOwnBatch } from '../batch-replies.ts'
import { draftBatch } from '../batch-requests.ts'
import { draftRetry, type BatchRetryDeps } from '../batch-retry.ts'
import { etagOf, isKnownTag } from '../etag.ts'
import type { Holds } from '../holds.ts'
import { parsePrefer } from '../prefer.ts'
import { formatPage, sendPage, startEventStream, wantsPage } from '../stream-events.ts'

const WAIT_MAX_S = 60
/** Of a create call, whose lines may be in it: as all else, it is read whole. */
const INLINE_BYTES_MAX = 20 * 1024 * 1024

export type BatchRouteDeps = BatchAcceptanceDeps &
  BatchRetryDeps &
  BatchEventsDeps & { batches: Batches; holds: Holds }

const BatchParams = z.object({ id: z.string() })
const WaitQuery = z.object({
  wait: z.coerce.number().min(0).optional().describe('Seconds to wait for the end, at most 60.'),
})
const ListQuery = z.object({
  after: z.string().optional().describe('Id of the last batch of the page before.'),
  limit: z.coerce.number().int().min(1).max(100).default(20),
})
const EVENTS = { schema: z.unknown() }
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['batches']

/** `/batches`: OpenAI's create, retrieve, list and cancel; retry; a batch as events. */
export function addBatchRoutes(app: FastifyInstance, deps: BatchRouteDeps): void {
  const { batches, ids } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const createSchema = {
    summary: 'Create a batch',
    description:
      'Runs each line of a file that was uploaded with the purpose `batch`, or of `requests`. What is no field of a batch is a default of its lines: `user_config`, `api_key`, `num_retries`, `temperature`, ... Lines may have their own. An `Idempotency-Key` makes a second try safe.',
    tags,
    body: BatchRequest,
    response: { 200: Batch, ...errors },
  }
  routes.post('/batches', { schema: createSchema, bodyLimit: INLINE_BYTES_MAX }, async (request, reply) => {
    const draft = await draftBatch(request, request.body, deps)
    const { input_file_id: fileId, requests } = request.body
    return acceptBatch(reply, draft, fileId ? { fileId } : { lines: toLines(requests ?? []) }, deps)
  })

  const listSchema = {
    summary: 'List batches, newest first',
    tags,
    querystring: ListQuery,
    response: { 200: BatchList, ...errors },
  }
  routes.get('/batches', { schema: listSchema }, async (request) => {
    const page = await batches.list(request.tenant, request.query)
    if (!page) {
      throw new InvalidRequestError('`after` is no id of a batch that can still be listed.', 'after')
    }
    const data = page.batches.map(toBatch)
    const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null]
    return { object: 'list' as const, data, first_id, last_id, has_more: page.hasMore }
  })

  const readSchema = {
    summary: 'Read a batch, or wait for its end',
    description:
      '`?wait=N` or `Prefer: wait=N` answers as soon as the batch ends, at the latest after N seconds. With the `ETag` of an earlier answer as `If-None-Match` it answers 304 as long as nothing has changed, and waits for any change.',
    tags,
    params: BatchParams,
    querystring: WaitQuery,
    response: { 200: Batch, 304: z.unknown(), ...errors },
  }
  routes.get('/batches/:id', { schema: readSchema }, async (request, reply) => {
    const preferred = parsePrefer(request.headers.prefer).waitSeconds
    const waitSeconds = Math.min(request.query.wait ?? preferred ?? 0, WAIT_MAX_S)
    if (request.query.wait === undefined && preferred !== null) {
      void reply.header('preference-applied', `wait=${waitSeconds}`)
    }
    void reply.header('vary', 'Prefer')
    const seen =
      waitSeconds === 0 ? await look(request) : await waitForNews(request, reply, waitSeconds * 1000)
    void reply.header('etag', seen.etag)
    return seen.isKnown ? reply.code(304).send() : seen.batch
  })

  const cancelSchema = {
    summary: 'Cancel a batch',
    description:
      'Nothing new of it is started; calls in flight come to their end, at most ten minutes. What was done is kept.',
    tags,
    params: BatchParams,
    response: { 200: Batch, ...errors },
  }
  routes.post('/batches/:id/cancel', { schema: cancelSchema }, async (request) => {
    const { tenant } = request
    const { id } = request.params
    const cancelled = ids.isOwnBatchId(tenant, id) ? await batches.cancel(tenant, id) : null
    if (!cancelled) throw missingBatch(ids, tenant, id)
    if (cancelled.kind === 'ended') {
      const message = `This batch is ${cancelled.view.status}: there is nothing left to cancel.`
      throw new InvalidRequestError(message, null, 'batch_ended')
    }
    return toBatch(cancelled.view)
  })

  const retrySchema = {
    summary: 'Run the lines again that did not complete',
    description:
      'Makes a new batch of the failed, expired and cancelled lines of one that has ended. Credentials were erased by then: give fresh ones for all lines in the body, or by `custom_id` in `credentials`. Fields of the create call may be given anew; those that are left out are as before, except for the webhook.',
    tags,
    params: BatchParams,
    body: BatchRetryRequest.nullish(),
    response: { 200: Batch, ...errors },
  }
  routes.post('/batches/:id/retry', { schema: retrySchema }, async (request, reply) => {
    const batch = await readBatch(request)
    const { draft, lines } = await draftRetry(request, request.body ?? {}, batch, deps)
    return acceptBatch(reply, draft, { lines }, deps)
  })

  const eventsSchema = {
    summary: "Follow a batch's events",
    description:
      'Server-sent events: `batch.snapshot`, `batch.in_progress`, `batch.progress` (at most one a second), `batch.finalizing`, `batch.cancelling`, `batch.completed|failed|expired|cancelled`, `end`. Whoever comes back with the `Last-Event-ID` of the end is answered 204. With `Accept: application/json`: how it stands, as a page of a list.',
    tags,
    params: BatchParams,
    response: {
      200: { content: { 'text/event-stream': EVENTS, 'application/json': EVENTS } },
      204: z.unknown(),
      ...errors,
    },
  }
  routes.get('/batches/:id/events', { schema: eventsSchema }, async (request, reply) => {
    const isPage = wantsPage(request)
    if (hasReadAll(request.headers['last-event-id'])) {
      return isPage ? sendPage(reply, formatPage([], false)) : reply.code(204).send()
    }
    const view = await readBatch(request)
    if (isPage) return sendPage(reply, batchPage(view))
    const hold = deps.holds.hold(reply)
    startEventStream(reply)
    const events = Readable.from(batchEvents(deps, view, hold.signal), { objectMode: false })
    events.once('close', hold.release)
    return reply.send(events)
  })

  function readBatch(request: FastifyRequest<{ Params: { id: string } }>): Promise<BatchView> {
    return readOwnBatch(deps, request.tenant, request.params.id)
  }

  /** A batch, and whether the client has just that already. */
  async function look(request: FastifyRequest<{ Params: { id: string } }>): Promise<Look> {
    const view = await readBatch(request)
    const batch = toBatch(view)
    const etag = etagOf(JSON.stringify(batch))
    const isKnown = isKnownTag(request.headers['if-none-match'], etag)
    return { batch, isTerminal: view.isTerminal, etag, isKnown }
  }

  /** Waits for the batch's end; of one that the client knows already, for any change. */
  async function waitForNews(
    request: FastifyRequest<{ Params: { id: string } }>,
    reply: FastifyReply,
    waitMs: number,
  ): Promise<Look> {
    const { id } = request.params
    const isForChange = request.headers['if-none-match'] !== undefined
    const watch = isForChange ? deps.news.watch(id) : deps.settled.watch(id)
    const hold = deps.holds.hold(reply)
    try {
      const read = async () => {
        const seen = await look(request)
        return { ...seen, isTerminal: seen.isTerminal || (isForChange && !seen.isKnown) }
      }
      const seen = await waitForEnd({ watch, read, waitMs, signal: hold.signal })
      if (!seen) throw missingBatch(ids, request.tenant, id)
      return seen
    } finally {
      watch.close()
      hold.release()
    }
  }
}

type Look = { batch: Batch; isTerminal: boolean; etag: string; isKnown: boolean }

// oxlint-disable-next-line typescript/require-await -- what stores lines takes them as they come
async function* toLines(requests: readonly object[]): AsyncGenerator<Buffer> {
  for (const line of requests) yield Buffer.from(`${JSON.stringify(line)}\n`)
}
