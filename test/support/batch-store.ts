import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBatchClaims, type AfterStep, type ChunkClaim } from '../../shared/batches/batch-claims.ts'
import { createBatchEnds } from '../../shared/batches/batch-ends.ts'
import type { BatchQueue, FedChunk } from '../../shared/batches/batch-queue.ts'
import type { LineState } from '../../shared/batches/batch-record.ts'
import type { LineOutcome, OrderEntry } from '../../shared/batches/batch-results.ts'
import { createBatchWindow } from '../../shared/batches/batch-window.ts'
import { createBatches, type NewBatch } from '../../shared/batches/batches.ts'
import { openFileStore } from '../../shared/files/file-store.ts'
import { createLog } from '../../shared/log.ts'
import { testStore } from './store.ts'

/**
 * The store of batches on the run's Redis, with a queue that only remembers what it was given. No worker runs: a test takes
 * chunks from `queued` and says what becomes of their lines. The caller calls `cleanup`.
 */
export async function testBatchStore({ leaseMs = 10_000 } = {}) {
  const own = testStore({ leaseMs })
  const { redis, keys, sealer, ids } = own
  const folder = await mkdtemp(join(tmpdir(), 'byok-files-'))
  const store = openFileStore(`file:${folder}`)
  const queued: FedChunk[] = []
  const steps: AfterStep[] = []
  const queue: BatchQueue = {
    add: async (fed) => void queued.push(...fed),
    has: async () => false,
    close: async () => {},
  }
  const afterStep = (step: AfterStep) => {
    steps.push(step)
    if (step.finish) queued.push(step.finish)
  }
  const window = createBatchWindow(redis, keys)
  const ends = createBatchEnds({ redis, keys, sealer, ids, retentionMs: 86_400_000, afterStep })
  const claims = createBatchClaims({ redis, keys, sealer, leaseMs, afterStep })
  const batches = createBatches({
    redis, keys, sealer, ids, store, queue, ends, log: createLog('silent', 'test'),
    idempotencyRetentionMs: 86_400_000,
  }) // oxfmt-ignore

  /** Makes the record of an input file, as an upload would; with `lineKeys` its lines have credentials of their own. */
  async function makeFile(tenant: string, lineKeys: Buffer | null = null): Promise<string> {
    const id = ids.newFileId(tenant)
    const credentials = lineKeys ? ['credentials', '1'] : []
    await redis.hset(keys.file(id), 'tenant', tenant, 'purpose', 'batch', 'uses', '0', ...credentials)
    if (lineKeys) await redis.set(keys.fileKeys(id), lineKeys)
    return id
  }

  function newBatch(change: Partial<NewBatch> = {}): NewBatch {
    const tenant = change.tenant ?? 'acme'
    return {
      id: ids.newBatchId(tenant),
      tenant,
      endpoint: '/v1/chat/completions',
      inputFileId: 'file-none',
      completionWindow: '24h',
      windowMs: 60_000,
      metadata: {},
      customer: null,
      priority: 'normal',
      concurrency: null,
      maxErrors: null,
      isOrdered: false,
      outputExpiresAfterS: null,
      retryOf: null,
      warnings: [],
      defaults: {},
      webhook: null,
      idempotency: null,
      ...change,
    }
  }

  /** Creates a batch over a file of its own. */
  async function create(change: Partial<NewBatch> = {}): Promise<string> {
    const inputFileId = change.inputFileId ?? (await makeFile(change.tenant ?? 'acme'))
    const result = await batches.create(newBatch({ ...change, inputFileId }))
    if (result.kind !== 'created') throw new Error(result.kind)
    return result.id
  }

  /** Takes the oldest entry of the queue, or this one. */
  async function claim(fed = queued.shift(), workerId = 'w1'): Promise<ChunkClaim> {
    if (!fed) throw new Error('The queue is empty.')
    const result = await claims.claim(fed, { workerId, positions: { output: 0, error: 0 } })
    if (result.kind !== 'claimed') throw new Error(result.kind)
    return result.claim
  }

  /** Creates a batch of so many lines and lets it begin. */
  async function begin(lines: number, change: Partial<NewBatch> = {}): Promise<string> {
    const id = await create(change)
    await ends.begin(await claim(take(id, 'v')), { lines, model: null })
    return id
  }

  function take(batchId: string, chunk: string): FedChunk | undefined {
    const at = queued.findIndex((fed) => fed.batchId === batchId && fed.chunk === chunk)
    return at < 0 ? undefined : queued.splice(at, 1)[0]
  }

  async function feed(): Promise<FedChunk[]> {
    const fed = await window.feed()
    queued.push(...fed)
    return fed
  }

  return {
    ...own,
    async cleanup() {
      await own.cleanup()
      await store.close()
      await rm(folder, { recursive: true, force: true })
    },
    beat: (workerId: string, slots: number, silenceMs: number) => own.window.beat(workerId, slots, silenceMs),
    fileStore: store,
    jobClaims: own.claims,
    batchQueue: queue,
    afterStep,
    batches,
    window,
    ends,
    claims,
    queued,
    steps,
    makeFile,
    newBatch,
    create,
    claim,
    begin,
    take,
    feed,
  }
}

export type TestBatchStore = Awaited<ReturnType<typeof testBatchStore>>

/** Where a result is said to lie; no log is read here. */
export function entryOf(line: number, outcome: LineOutcome = 'completed', log = 1): OrderEntry {
  return { line, outcome, log, offset: line * 100, length: 10 }
}

export function lineEnd(line: number, outcome: LineOutcome = 'completed', log = 1) {
  const usage = { input_tokens: 3, output_tokens: 2, total_tokens: 5, cached_input_tokens: 1 }
  const by = outcome === 'completed' ? ('complete' as const) : ('claim' as const)
  return { by, entry: entryOf(line, outcome, log), model: 'm', usage, cost: 0.000_001 }
}

export const NO_STATE: LineState = {
  attempts: [],
  attemptsMade: 0,
  progress: null,
  crashes: 0,
  queueState: 'waiting',
}
