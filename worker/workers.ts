import { Worker, type Telemetry } from 'bullmq'
import type { Redis } from 'ioredis'
import { BATCHES_QUEUE, CHECKS_QUEUE, type ChunkEntry } from '../shared/batches/batch-queue.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { chunkWidth } from '../shared/batches/batch-window.ts'
import { JOBS_QUEUE, type FedJob, type JobEntry } from '../shared/jobs/queues.ts'

// Above this BullMQ fails a job without asking us; the crash budget is kept by the claim.
const STALLED_COUNT_MAX = 1_000_000

/**
 * Starts a BullMQ worker on one queue. Entries are removed whatever becomes of them: the record is the truth, and an entry
 * that is lost is made anew.
 * @param redis A `blocking` connection; BullMQ opens a second one beside it.
 */
export function startWorker<Entry>(
  queue: string,
  process: (entry: Entry) => Promise<unknown>,
  deps: {
    redis: Redis
    keys: Keys
    log: Logger
    concurrency: number
    lockMs: number
    stalledCheckMs: number
    /** Another worker of this process looks for stalled entries of the queue. */
    skipStalledCheck?: boolean
    telemetry?: Telemetry | undefined
  },
): Worker<Entry> {
  const worker = new Worker<Entry>(queue, async ({ data }) => void (await process(data)), {
    connection: deps.redis,
    prefix: deps.keys.queuePrefix,
    concurrency: deps.concurrency,
    lockDuration: deps.lockMs,
    stalledInterval: deps.stalledCheckMs,
    skipStalledCheck: deps.skipStalledCheck ?? false,
    maxStalledCount: STALLED_COUNT_MAX,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
    // An idle worker asks again at least this often, should a marker be lost with its connection (seconds).
    drainDelay: 2,
    ...(deps.telemetry ? { telemetry: deps.telemetry } : {}),
  })
  // While Redis is away there is an error a second; its connection has said so already.
  worker.on('error', (error) => deps.log.debug({ err: error, queue }, 'A worker had trouble with its queue'))
  worker.on('failed', (_job, error) =>
    deps.log.error({ err: error, queue }, 'An entry failed; its job is taken up again'),
  )
  return worker
}

// A BullMQ worker asks for one entry at a time, so under load its slots fill one round trip after the other. Four that
// share the slots gave a fifth more completions a second at 200 connections (`npm run bench:sync`); eight gave no more.
const FETCH_LOOPS_MAX = 4

// Each works for a few milliseconds between two pauses: all together must leave jobs their turns.
const CHECKS_AT_ONCE = 4

/** Starts the worker that validates inputs of batches. */
export function startChecksWorker(
  run: (chunk: ChunkEntry) => Promise<unknown>,
  deps: Parameters<typeof startWorker>[2],
): Worker<ChunkEntry> {
  return startWorker<ChunkEntry>(CHECKS_QUEUE, run, { ...deps, concurrency: CHECKS_AT_ONCE })
}

/** Starts the worker of chunks of batches. @param deps.concurrency Chunks at once, as `chunksAtOnce` says. */
export function startBatchesWorker(
  run: (chunk: ChunkEntry) => Promise<unknown>,
  deps: Parameters<typeof startWorker>[2],
): Worker<ChunkEntry> {
  return startWorker<ChunkEntry>(BATCHES_QUEUE, run, deps)
}

/**
 * How many chunks a worker takes: as wide as its slots and half as much again, since a chunk that runs out leaves slots free.
 * One that took more would keep them waiting while other workers have room.
 * @param own Slots of this worker. @param all Of all live ones.
 */
export function chunksAtOnce(own: number, all: number): number {
  return Math.max(2, Math.ceil((1.5 * own) / chunkWidth(Math.max(own, all))))
}

/** Starts the workers of single jobs, which share the process's slots. */
export function startJobsWorkers(
  run: (fed: FedJob) => Promise<unknown>,
  deps: Parameters<typeof startWorker>[2],
): Worker<JobEntry>[] {
  const loops = Math.min(FETCH_LOOPS_MAX, deps.concurrency)
  return Array.from({ length: loops }, (_, index) =>
    startWorker<JobEntry>(JOBS_QUEUE, ({ jobId, generation }) => run({ id: jobId, generation }), {
      ...deps,
      concurrency: Math.floor((deps.concurrency + index) / loops),
      skipStalledCheck: index > 0,
    }),
  )
}
