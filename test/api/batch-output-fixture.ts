import { get, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { fastify } from 'fastify'
import { handleError } from '../../api/errors.ts'
import { createHolds } from '../../api/holds.ts'
import { addSchemas } from '../../api/plugins/schemas.ts'
import { addBatchOutputRoutes } from '../../api/routes/batch-output.ts'
import type { ChunkClaim } from '../../shared/batches/batch-claims.ts'
import { createBatchInput, writeBatchInput } from '../../shared/batches/batch-input.ts'
import { createBatchListener } from '../../shared/batches/batch-listener.ts'
import { packEntry, partOf, writeOrder, type LineOutcome } from '../../shared/batches/batch-results.ts'
import type { FileStore } from '../../shared/files/file-store.ts'
import { createFiles } from '../../shared/files/files.ts'
import { createLog } from '../../shared/log.ts'
import { createResultLogs, type ResultLog } from '../../shared/batches/result-log.ts'
import type { NewBatch } from '../../shared/batches/batches.ts'
import { testBatchStore } from '../support/batch-store.ts'
import { lineResult } from '../support/results.ts'

const HEARTBEAT_MS = 300

/** The routes of batch output on real stores, with the test in the place of the worker. The caller calls `close`. */
export async function startBatchOutput() {
  const store = await testBatchStore()
  const { fileStore, sealer, redis, keys, ids, batches } = store
  await store.beat('w1', 500, 60_000)
  let readBytes = 0
  const counting: FileStore = {
    ...fileStore,
    async *readLog(name, range) {
      for await (const bytes of fileStore.readLog(name, range)) {
        readBytes += bytes.length
        yield bytes
      }
    },
  }
  const results = createResultLogs({ store: counting, sealer })
  const files = createFiles({
    redis, keys, sealer, store: fileStore, log: createLog('silent', 'test'), tenantBytesMax: 1e9,
  }) // oxfmt-ignore
  const subscriber = redis.duplicate()
  const news = createBatchListener(subscriber, keys)
  const holds = createHolds()
  const opened: ResultLog[] = []

  const app = fastify()
  addSchemas(app)
  app.setErrorHandler(handleError)
  app.decorateRequest('tenant', '')
  app.addHook('onRequest', async (request) => {
    request.tenant = String(request.headers['x-tenant'] ?? 'acme')
  })
  const input = createBatchInput({ store: fileStore, sealer })
  addBatchOutputRoutes(app, { batches, results, news, holds, ids, heartbeatMs: HEARTBEAT_MS, input, files })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const sockets: Socket[] = []
  app.server.on('connection', (socket) => sockets.push(socket))
  const { port } = app.server.address() as AddressInfo // it listens on one

  async function upload(lines: number): Promise<string> {
    const id = ids.newFileId('acme')
    const text = Array.from({ length: lines }, (_, line) => {
      const body = { model: 'main', messages: [{ role: 'user', content: 'hello' }] }
      return `${JSON.stringify({ custom_id: `line-${line}`, method: 'POST', url: '/v1/chat/completions', body })}\n`
    })
    const bounds = { bytesMax: 1e9, lineBytesMax: 1e6, linesMax: 50_000 }
    await files.reserve('acme', id)
    const written = await writeBatchInput(
      { store: fileStore, sealer },
      { tenant: 'acme', id },
      piecesOf(text.join('')),
      bounds,
    )
    await files.create({ ...written, id, tenant: 'acme', purpose: 'batch', filename: 'x', expiresInMs: null })
    return id
  }

  /** A batch that has begun, with all of its lines in chunks of one worker. */
  async function begin(lines: number, change: Partial<NewBatch> = {}) {
    const id = await store.begin(lines, { inputFileId: await upload(lines), ...change })
    await store.feed()
    const chunks: ChunkClaim[] = []
    while (store.queued.length > 0) chunks.push(await store.claim())
    const log = results.open({ tenant: 'acme', id }, chunks[0]?.log ?? 1)
    opened.push(log)

    async function settle(line: number, outcome: LineOutcome = 'completed', bytes = 100): Promise<void> {
      const chunk = chunks.find((one) => one.lines.includes(line))
      if (!chunk) throw new Error(`No chunk has line ${line}.`)
      const entry = await log.append(lineResult(line, { outcome, bytes }))
      const { model, usage, cost } = lineResult(line).meta
      await store.claims.settle(chunk, { by: 'claim', entry, model, usage, cost })
    }

    /** Once all lines are settled. */
    async function finish(): Promise<void> {
      const claim = await store.claim(store.take(id, 'f'))
      const entries = await store.claims.entries(claim)
      const order = change.isOrdered ? entries.toSorted((a, b) => a.line - b.line) : entries
      const bytes = { output: 0, error: 0 }
      for (const { outcome, length } of entries) bytes[partOf(outcome)] += length
      await writeOrder(
        { store: fileStore, sealer },
        { tenant: 'acme', id },
        Buffer.concat(order.map(packEntry)),
      )
      await store.ends.finish(claim, bytes)
    }

    return { id, chunks, settle, finish }
  }

  return {
    ...store,
    app,
    holds,
    news,
    subscriber,
    files,
    begin,

    /** What a whole answer is. */
    async get(path: string, headers: Record<string, string> = {}) {
      const answer = await open(path, headers)
      const body = await buffer(answer)
      return { status: answer.statusCode, headers: answer.headers, text: body.toString() }
    },

    open,

    /** Bytes of results that were read, and of these what the process holds: no connection has taken them. */
    read() {
      const taken = sockets.reduce((sum, socket) => sum + socket.bytesWritten - socket.writableLength, 0)
      return { bytes: readBytes, heldBytes: readBytes - taken, isFull: sockets.every(isFull) }
    },

    async close() {
      holds.endAll()
      await app.close()
      await Promise.all(opened.map((log) => log.close()))
      news.close()
      subscriber.disconnect()
      await store.cleanup()
    },
  }

  /** An answer whose body is still to be read. */
  function open(path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, path, headers, agent: false }, resolve).once('error', reject)
    })
  }
}

export type TestBatchOutput = Awaited<ReturnType<typeof startBatchOutput>>

function isFull(socket: Socket): boolean {
  return socket.writableLength > 0
}

async function* piecesOf(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text)
}

/** Custom ids of result lines, in their order. */
export function customIds(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { custom_id: string }).custom_id)
}

/** Reads along with an answer. */
export function readAlong(answer: IncomingMessage) {
  const seen = { text: '', hasEnded: false, failure: null as Error | null }
  answer.setEncoding('utf8')
  answer.on('data', (piece: string) => (seen.text += piece))
  answer.once('end', () => (seen.hasEnded = true))
  answer.once('error', (error) => (seen.failure = error))
  return seen
}
