import type { BatchClaims } from '../../shared/batches/batch-claims.ts'
import { createBatchInput, writeBatchInput } from '../../shared/batches/batch-input.ts'
import type { LineResult } from '../../shared/batches/batch-results.ts'
import type { FedChunk } from '../../shared/batches/batch-queue.ts'
import { createEgressPolicy } from '../../shared/egress.ts'
import type { FileStore } from '../../shared/files/file-store.ts'
import { createFiles } from '../../shared/files/files.ts'
import { createKeptPlaces } from '../../shared/routing/kept-places.ts'
import { createLinePlans } from '../../shared/batches/line-plans.ts'
import { createLog } from '../../shared/log.ts'
import { readOperatorConfig } from '../../shared/settings/operator-config.ts'
import { createResultLogs } from '../../shared/batches/result-log.ts'
import { createStoredCredentials } from '../../shared/credentials/stored-credentials.ts'
import { createBatchPlaces } from '../../worker/batch-places.ts'
import { createBatchSteps } from '../../worker/batch-steps.ts'
import { createBatchRunner } from '../../worker/batch.ts'
import { createCompletion } from '../../worker/completion.ts'
import type { CallOutcome, ProviderCall, ProviderError } from '../../worker/providers/provider.ts'
import { createLineRecords } from '../../worker/record-of-line.ts'
import { RunningJobs } from '../../worker/running.ts'
import { createSlots } from '../../worker/slots.ts'
import type { TestBatchStore } from './batch-store.ts'

const LIMITS = { bytesMax: 10_000_000, lineBytesMax: 1_000_000, linesMax: 50_000 }

/** A line of an input as its client writes it, with a key of its own. */
export function inputLine(number: number, change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    custom_id: `line ${number}`,
    method: 'POST',
    url: '/v1/chat/completions',
    body: {
      model: 'gpt-4o-mini',
      messages: [{ role: 'user', content: `question ${number}` }],
      api_key: `sk-of-line-${number}`,
      ...change,
    },
  }
}

/** Which line a call was made for, by its prompt. */
export function lineOf({ body }: ProviderCall): number {
  return Number(/question (\d+)/.exec(JSON.stringify(body))?.[1])
}

/** An answer of a provider. */
export function replyWith(body: unknown = { choices: [] }): CallOutcome {
  const usage = { input_tokens: 3, output_tokens: 2, total_tokens: 5, cached_input_tokens: 0 }
  const known = { status: 200, requestId: 'req_theirs', usage, isFiltered: false, headers: {}, restMs: null }
  return { kind: 'reply', reply: { ...known, body: Buffer.from(JSON.stringify(body)) } }
}

/** A rate limit of a provider. */
export function rateLimited(retryAfterMs: number): CallOutcome {
  return failure({ class: 'rate_limit', status: 429, type: 'rate_limit_error', retryAfterMs })
}

/** A failure of a provider that may pass. */
export function brokenDown(): CallOutcome {
  return failure({ class: 'internal_server', status: 500 })
}

/** A provider that does not take the key. */
export function refusedKey(): CallOutcome {
  const message = 'Incorrect API key provided.'
  return failure({ class: 'authentication', status: 401, message, isRetryable: false })
}

function failure(change: Partial<ProviderError>): CallOutcome {
  const error: ProviderError = {
    class: 'api_connection',
    status: null,
    message: 'It did not work.',
    type: 'server_error',
    param: null,
    code: null,
    isRetryable: true,
    retryAfterMs: null,
    isPossiblyBilled: false,
    headers: {},
    ...change,
  }
  return { kind: 'error', error }
}

/** Answers only when it is given up. */
export function untilStopped({ signal }: ProviderCall): Promise<CallOutcome> {
  const given = failure({ isPossiblyBilled: true })
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(given)))
}

/** Uploads these lines and creates a batch over them. */
export async function submit(
  store: TestBatchStore,
  lines: readonly Record<string, unknown>[],
  change: Parameters<TestBatchStore['newBatch']>[0] = {},
): Promise<string> {
  const tenant = 'acme'
  const id = store.ids.newFileId(tenant)
  const { redis, keys, sealer } = store
  const files = filesOf(store)
  await files.reserve(tenant, id)
  const text = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const written = await writeBatchInput(
    { store: store.fileStore, sealer },
    { tenant, id },
    pieces(text),
    LIMITS,
  )
  await files.create({ id, tenant, purpose: 'batch', filename: 'in.jsonl', expiresInMs: null, ...written })
  await redis.exists(keys.file(id))
  return store.create({ tenant, inputFileId: id, ...change })
}

// oxlint-disable-next-line typescript/require-await -- a source of bytes is async
async function* pieces(text: Buffer): AsyncGenerator<Buffer> {
  yield text
}

function filesOf(store: TestBatchStore) {
  const { redis, keys, sealer, fileStore } = store
  const log = createLog('silent', 'test')
  return createFiles({ redis, keys, sealer, store: fileStore, log, tenantBytesMax: 1_000_000_000 })
}

let workers = 0

/**
 * One worker process' way with batches, on a store that a test looks into. It takes from the store's queue what it is told to.
 * @param options.answer What the provider says; at once and well unless told.
 */
export function testBatchWorker(
  store: TestBatchStore,
  options: {
    answer?: (call: ProviderCall) => CallOutcome | Promise<CallOutcome>
    claims?: Partial<BatchClaims>
    fileStore?: FileStore
    slots?: number
    cancelMs?: number
    crashesMax?: number
    leaseMs?: number
  } = {},
) {
  const { sealer, ends, ids } = store
  const { answer = () => replyWith(), fileStore = store.fileStore } = options
  const claims = { ...store.claims, ...options.claims }
  const log = createLog('silent', 'test')
  const leaseMs = options.leaseMs ?? 10_000
  const chunks = new RunningJobs(claims, leaseMs, log)
  const calls: ProviderCall[] = []
  const completion = createCompletion({
    ...store,
    state: store.makeState({ wakeOthers: (lines) => store.window.wakeLines(lines) }),
    claims: store.jobClaims,
    running: new RunningJobs(store.jobClaims, leaseMs, log),
    providers: () => ({
      call: async (call) => {
        calls.push(call)
        return answer(call)
      },
    }),
    operatorBundles: new Map(),
    crashesMax: options.crashesMax ?? 3,
    retryInitialMs: 500,
    random: () => 0.5,
    log,
    afterSettle: () => {},
    afterSnooze: () => {},
  })
  const results = createResultLogs({ store: fileStore, sealer })
  const input = createBatchInput({ store: store.fileStore, sealer })
  const operator = readOperatorConfig({}, {})
  const egress = createEgressPolicy({ allowedCidrs: [] })
  const planDependencies = { operator, ids, egress, plans: createLinePlans() }
  const stored = createStoredCredentials(store)
  const records = createLineRecords({ claims, log, afterSettle: () => {} })
  const steps = createBatchSteps({
    claims, ends, records, input, store: fileStore, sealer, planDependencies, stored, limits: LIMITS,
    giveBack: createKeptPlaces({ ...store, windowMs: 60_000 }),
    afterBegin: () => {}, afterEnd: () => {},
  }) // oxfmt-ignore
  const places = createBatchPlaces({ results, files: filesOf(store), workerId: `w${workers++}`, log })
  const { work } = completion
  const runner = createBatchRunner({
    claims, ends, chunks, places, records, results, steps, stored, input, planDependencies, work, log,
    slots: createSlots(options.slots ?? 100), cancelMs: options.cancelMs ?? 60_000,
  }) // oxfmt-ignore
  chunks.start()

  /** Runs what is queued and what follows from it, until there is nothing more to do at once. */
  async function runAll(): Promise<void> {
    for (;;) {
      await store.feed()
      const fed = store.queued.splice(0)
      if (fed.length === 0) return
      await Promise.all(fed.map((chunk) => runner.run(chunk)))
    }
  }

  /** Runs the first step, so that chunks of lines can be cut. */
  async function begin(batchId: string): Promise<FedChunk[]> {
    const fed = store.take(batchId, 'v')
    if (fed) await runner.run(fed)
    return store.feed()
  }

  async function close(): Promise<void> {
    chunks.close()
    await places.close()
  }

  return { ...runner, chunks, calls, results, runAll, begin, close }
}

export type TestBatchWorker = ReturnType<typeof testBatchWorker>

/** What is told of each line of a batch that has ended, in the order of its lines. */
export async function readOutcomes(store: TestBatchStore, worker: TestBatchWorker, batchId: string) {
  const { entries } = await store.batches.entries('acme', batchId)
  const all: LineResult[] = []
  for await (const result of worker.results.read({ tenant: 'acme', id: batchId }, entries)) all.push(result)
  return all
    .toSorted((a, b) => a.line - b.line)
    .map(({ text, ...known }) => ({ ...known, told: JSON.parse(text.toString()) as ResultLine }))
}

type ResultLine = {
  id: string
  custom_id: string
  response: { status_code: number; request_id: string | null; body: Record<string, unknown> } | null
  error: { code: string; message: string } | null
}
