import { WaitingError, Worker, type Job, type Telemetry } from 'bullmq'
import type { Redis } from 'ioredis'
import { BATCHES_QUEUE, CHECKS_QUEUE, type ChunkEntry } from '../shared/batches/batch-queue.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { chunkWidth } from '../shared/batches/batch-window.ts'
import { JOBS_QUEUE, type JobEntry } from '../shared/jobs/queues.ts'

// Above this BullMQ fails a job without asking us; the crash budget is kept by the claim.
const STALLED_COUNT_MAX = 1_000_000

/** A BullMQ worker that knows when it last asked for an entry: one that does not ask looks like one that is idle. */
class AskingWorker<Entry> extends Worker<Entry> {
  /** `performance.now()` of the last answer that it got, be it an entry or none. */
  askedMs = performance.now()
  /** Entries that it has in hand. */
  entries = 0

  /** It asks for no more until one that it has is done, or a slot is free. */
  isFull(): boolean {
    return this.entries >= this.concurrency
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job<Entry>> {
    const job = await super.moveToActive(token, name)
    this.askedMs = performance.now()
    return job
  }
}

/** What a watch needs of a worker of any queue. */
export type QueueWorker = Pick<AskingWorker<never>, 'askedMs' | 'isFull' | 'close' | 'concurrency'>

/**
 * Starts a BullMQ worker on one queue. Entries are removed whatever becomes of them: the record is the truth, and an entry
 * that is lost is made anew.
 * @param process Its `handBack`, when awaited, leaves the entry to another worker, or to this one later.
 * @param redis A `blocking` connection; BullMQ opens a second one beside it.
 */
export function startWorker<Entry>(
  queue: string,
  process: (entry: Entry, handBack: () => Promise<never>) => Promise<unknown>,
  deps: {
    redis: Redis
    keys: Keys
    log: Logger
    concurrency: number
    lockMs: number
    stalledCheckMs: number
    telemetry?: Telemetry | undefined
  },
): AskingWorker<Entry> {
  const run = async (job: Job<Entry>, token?: string): Promise<void> => {
    worker.askedMs = performance.now()
    worker.entries += 1
    try {
      await process(job.data, async () => {
        await job.moveToWait(token)
        throw new WaitingError()
      })
    } finally {
      worker.entries -= 1
    }
  }
  const worker = new AskingWorker<Entry>(queue, run, {
    connection: deps.redis,
    prefix: deps.keys.queuePrefix,
    concurrency: deps.concurrency,
    lockDuration: deps.lockMs,
    stalledInterval: deps.stalledCheckMs,
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

// An entry of jobs is held until they are claimed, which takes two round trips. More than a few of them at once would only keep
// what another worker has room for.
const ENTRIES_AT_ONCE = 2

// Each works for a few milliseconds between two pauses: all together must leave jobs their turns.
const CHECKS_AT_ONCE = 4

/** Starts the worker that validates inputs of batches. */
export function startChecksWorker(
  run: (chunk: ChunkEntry) => Promise<unknown>,
  deps: Parameters<typeof startWorker>[2],
): AskingWorker<ChunkEntry> {
  return startWorker<ChunkEntry>(CHECKS_QUEUE, run, { ...deps, concurrency: CHECKS_AT_ONCE })
}

/** Starts the worker of chunks of batches. @param deps.concurrency Chunks at once, as `chunksAtOnce` says. */
export function startBatchesWorker(
  run: (chunk: ChunkEntry) => Promise<unknown>,
  deps: Parameters<typeof startWorker>[2],
): AskingWorker<ChunkEntry> {
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

/**
 * Starts the worker of single jobs. While it has no slot for them it fetches none: they are another worker's.
 * @param take See `Entries.take`.
 * @param onRoom Calls back once when a slot is free.
 */
export function startJobsWorker(
  take: (entry: JobEntry) => Promise<boolean>,
  onRoom: (tell: () => void) => void,
  deps: Parameters<typeof startWorker>[2],
): AskingWorker<JobEntry> {
  const worker: AskingWorker<JobEntry> = startWorker<JobEntry>(
    JOBS_QUEUE,
    async (entry, handBack) => {
      if (await take(entry)) return
      await worker.pause(true)
      onRoom(() => void worker.resume())
      await handBack()
    },
    { ...deps, concurrency: Math.min(ENTRIES_AT_ONCE, deps.concurrency) },
  )
  return worker
}
