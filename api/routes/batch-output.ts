import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { BatchView } from '../../shared/batches/batch-record.ts'
import { lineOfId, type ResultPart } from '../../shared/batches/batch-results.ts'
import type { Batches } from '../../shared/batches/batches.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import type { Ids } from '../../shared/ids.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { BatchLineList, LineStatus, listBatchLines, type BatchLinesDeps } from '../batch-lines.ts'
import { readBatchOutput, type BatchOutputDeps } from '../batch-output.ts'
import { readOwnBatch } from '../batch-replies.ts'
import type { Holds } from '../holds.ts'

export type BatchOutputRoutesDeps = BatchLinesDeps &
  Omit<BatchOutputDeps, 'batches'> & {
    batches: Pick<Batches, 'read' | 'entries' | 'lineStates'>
    holds: Holds
    ids: Ids
  }

const PARTS: Record<'output' | 'error' | 'all', ReadonlySet<ResultPart>> = {
  output: new Set(['output']),
  error: new Set(['error']),
  all: new Set(['output', 'error']),
}

const OutputQuery = z.object({
  kind: z
    .enum(['output', 'error', 'all'])
    .default('output')
    .describe('Lines that completed, those that did not, or both.'),
  follow: z
    .stringbool()
    .optional()
    .describe(
      'Go on with each line as it settles, until the batch has ended. Blank lines say that it is under way.',
    ),
})

const LinesQuery = z.object({
  after: z.string().optional().describe('Id of the last line of the page before.'),
  limit: z.coerce.number().int().min(1).max(100).default(20),
  status: LineStatus.optional(),
})

/** What can be seen of a batch's lines while it runs and after: their results as JSON lines, and what they are at. */
export function addBatchOutputRoutes(app: FastifyInstance, deps: BatchOutputRoutesDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()
  const common = { tags: ['batches'], params: z.object({ id: z.string() }) }
  const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }

  const outputSchema = {
    ...common,
    summary: "Read a batch's results while it runs",
    description:
      'JSON lines in the order in which they settled, as in the output and error files: each once, none before it is settled. One that follows ends with the batch, or earlier when the gateway restarts: the batch tells which.',
    querystring: OutputQuery,
    response: { 200: { content: { 'application/x-ndjson': { schema: z.unknown() } } }, ...errors },
  }
  routes.get('/batches/:id/output', { schema: outputSchema }, async (request, reply) => {
    const batch = await readOwnBatch(deps, request.tenant, request.params.id)
    const { kind, follow } = request.query
    return sendOutput(reply, batch, PARTS[kind], follow === true)
  })

  const linesSchema = {
    ...common,
    summary: "List a batch's lines",
    description: 'In the order of the input, each with its status, its attempts, and why it failed.',
    querystring: LinesQuery,
    response: { 200: BatchLineList, ...errors },
  }
  routes.get('/batches/:id/requests', { schema: linesSchema }, async (request, reply) => {
    const batch = await readOwnBatch(deps, request.tenant, request.params.id)
    const { after, limit, status } = request.query
    const line = after === undefined ? -1 : lineOfId(batch.id, after)
    if (line === null || line >= batch.total) {
      throw new InvalidRequestError('`after` is no id of a line of this batch.', 'after')
    }
    return reply.send(await listBatchLines(deps, batch, { after: line, limit, status }))
  })

  async function sendOutput(
    reply: FastifyReply,
    batch: BatchView,
    parts: ReadonlySet<ResultPart>,
    isFollowing: boolean,
  ): Promise<FastifyReply> {
    const hold = isFollowing && !batch.isTerminal ? deps.holds.hold(reply) : null
    const pieces = readBatchOutput(deps, batch, parts, hold?.signal ?? null)
    // Results that are not kept any more are told with a status of their own.
    const first = batch.isTerminal ? await pieces.next() : null
    const body = Readable.from(first ? behind(first, pieces) : pieces, { objectMode: false })
    if (hold) body.once('close', hold.release)
    void reply
      .type('application/x-ndjson')
      .header('cache-control', 'no-cache, no-transform')
      .header('x-accel-buffering', 'no')
    return reply.send(body)
  }
}

async function* behind(
  first: IteratorResult<Buffer, void>,
  rest: AsyncGenerator<Buffer>,
): AsyncGenerator<Buffer> {
  if (first.done) return
  yield first.value
  yield* rest
}
