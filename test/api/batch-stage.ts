import { createBatchClaims, type ChunkClaim } from '../../shared/batches/batch-claims.ts'
import { createBatchEnds } from '../../shared/batches/batch-ends.ts'
import type { FedChunk } from '../../shared/batches/batch-queue.ts'
import { packEntry, partOf, writeOrder, type LineOutcome } from '../../shared/batches/batch-results.ts'
import { createBatchWindow } from '../../shared/batches/batch-window.ts'
import type { Batch } from '../../shared/schemas/batch.ts'
import { lineResult } from '../support/results.ts'
import { MASTER_KEY, type Call, type TestApi } from './fixture.ts'

const afterStep = (): void => {}

/** A line of a batch. */
export function requestLine(customId: string, change: object = {}, body: object = {}) {
  return {
    custom_id: customId,
    ...change,
    body: { model: 'mine', messages: [{ role: 'user', content: customId }], ...body },
  }
}

/** What a batch is created with, of lines without a file. */
export function ask(change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
    requests: [requestLine('a'), requestLine('b'), requestLine('c')],
    ...change,
  }
}

/** Batches on a test's API, with the test in the place of their worker. */
export function batchStage(api: TestApi) {
  const { redis, keys, sealer, ids } = api.store
  const { store, results } = api.batches
  const claims = createBatchClaims({ redis, keys, sealer, leaseMs: 60_000, afterStep })
  const ends = createBatchEnds({ redis, keys, sealer, ids, retentionMs: 86_400_000, afterStep })
  const window = createBatchWindow(redis, keys)

  async function claim(fed: FedChunk): Promise<ChunkClaim> {
    const result = await claims.claim(fed, { workerId: 'w1', positions: { output: 0, error: 0 } })
    if (result.kind !== 'claimed')
      throw new Error(`The claim of chunk ${fed.chunk} was answered ${result.kind}.`)
    return result.claim
  }

  /** Plays the step that ends its validation. @returns what settles its lines. */
  async function begin(id: string, lines: number) {
    await api.store.window.beat('w1', 500, 60_000)
    await ends.begin(await claim({ batchId: id, chunk: 'v', generation: 1 }), { lines, model: 'mine' })
    const chunks = await Promise.all((await window.feed()).filter(({ batchId }) => batchId === id).map(claim))
    const tenant = chunks[0]?.tenant ?? ''
    const log = results.open({ tenant, id }, chunks[0]?.log ?? 1)

    async function settle(line: number, outcome: LineOutcome = 'completed'): Promise<void> {
      const chunk = chunks.find((one) => one.lines.includes(line))
      if (!chunk) throw new Error(`No chunk has line ${line}.`)
      const result = lineResult(line, { outcome })
      const { model, usage, cost } = result.meta
      await claims.settle(chunk, { by: 'claim', entry: await log.append(result), model, usage, cost })
    }

    /** Once all its lines are settled. */
    async function finish(): Promise<void> {
      const last = await claim({ batchId: id, chunk: 'f', generation: 1 })
      const entries = await claims.entries(last)
      const bytes = { output: 0, error: 0 }
      for (const { outcome, length } of entries) bytes[partOf(outcome)] += length
      await writeOrder({ store, sealer }, { tenant, id }, Buffer.concat(entries.map(packEntry)))
      const said = await ends.finish(last, bytes)
      if (said !== 'ended') throw new Error(`The finish was answered ${said}.`)
      await log.close()
    }

    return { settle, finish }
  }

  return {
    /** Creates a batch that must be taken. */
    async create(body = ask(), call: Omit<Call, 'body'> = {}): Promise<Batch> {
      const answer = await api.call('POST', '/v1/batches', { body, ...call })
      if (answer.status !== 200) throw new Error(`answered ${answer.status}: ${answer.text}`)
      return answer.json
    },
    read: async (id: string, key = MASTER_KEY): Promise<Batch> =>
      (await api.call('GET', `/v1/batches/${id}`, { key })).json,
    begin,
    /** Plays the step that finds the input wrong. */
    async refuse(id: string): Promise<void> {
      const first = await claim({ batchId: id, chunk: 'v', generation: 1 })
      await ends.refuse(first, [{ code: 'invalid_json_line', message: 'No.', param: null, line: 2 }])
    },
    /** A batch that has ended, its lines so. */
    async end(outcomes: readonly LineOutcome[], change: Record<string, unknown> = {}): Promise<Batch> {
      const requests = change['requests'] ?? outcomes.map((_, line) => requestLine(`line-${line}`))
      const { id } = await this.create(ask({ requests, ...change }))
      const { settle, finish } = await begin(id, outcomes.length)
      for (const [line, outcome] of outcomes.entries()) await settle(line, outcome)
      await finish()
      return this.read(id)
    },
    /** What the input file of a batch shows. */
    async inputOf({ input_file_id: fileId }: Batch): Promise<Record<string, unknown>[]> {
      const tenant = (await redis.hget(keys.file(fileId), 'tenant')) ?? ''
      const file = await api.batches.files.read(tenant, fileId)
      if (!file) throw new Error('The file is gone.')
      const { bytes, frameBytes, lines } = file
      const place = { tenant, fileId, bytes, frameBytes, lines: lines ?? 0 }
      const all: Record<string, unknown>[] = []
      const texts = api.batches.input.text(
        place,
        Array.from({ length: lines ?? 0 }, (_, line) => line),
      )
      for await (const { text } of texts) all.push(JSON.parse(text.toString()))
      return all
    },
    /** What lies under the lines of a batch, as a worker opens it. */
    async defaultsOf(id: string): Promise<Record<string, unknown>> {
      return (await claim({ batchId: id, chunk: 'v', generation: 1 })).defaults
    },
  }
}

export type BatchStage = ReturnType<typeof batchStage>
