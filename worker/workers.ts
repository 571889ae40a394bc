import { Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import { JOBS_QUEUE, type FedJob, type JobEntry } from '../shared/queues.ts'

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
  },
): Worker<Entry> {
  const worker = new Worker<Entry>(queue, async ({ data }) => void (await process(data)), {
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
  })
  // While Redis is away there is an error a second; its connection has said so already.
  worker.on('error', (error) => deps.log.debug({ err: error, queue }, 'A worker had trouble with its queue'))
  worker.on('failed', (_job, error) =>
    deps.log.error({ err: error, queue }, 'An entry failed; its job is taken up again'),
  )
  return worker
}

/** Starts the worker of single jobs. */
export function startJobsWorker(
  run: (fed: FedJob) => Promise<unknown>,
  deps: Parameters<typeof startWorker>[2],
): Worker<JobEntry> {
  return startWorker<JobEntry>(JOBS_QUEUE, ({ jobId, generation }) => run({ id: jobId, generation }), deps)
}
