import { Queue, type Telemetry } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'

/** Queue of single jobs, called for by a person or a service that waits. */
export const JOBS_QUEUE = 'jobs'

/** What a queue entry holds: the record is the truth, the queue carries ids. */
export type JobEntry = { jobId: string; generation: number }

/** A job that has room in the window and wants a queue entry. */
export type FedJob = { id: string; generation: number }

/**
 * Opens a BullMQ queue for adding. Entries are removed when processed; the event stream is kept to its shortest: nobody
 * reads it.
 */
export function openQueue<Entry>(
  name: string,
  redis: Redis,
  keys: Keys,
  telemetry?: Telemetry,
): Queue<Entry> {
  const queue = new Queue<Entry>(name, {
    connection: redis,
    prefix: keys.queuePrefix,
    streams: { events: { maxLen: 1 } },
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
    // Our own start has looked at it. BullMQ asks once, and when that one answer is late every add fails for ever.
    skipVersionCheck: true,
    ...(telemetry ? { telemetry } : {}),
  })
  // Without a listener a connection error would end the process; the connection's own listener has logged it.
  queue.on('error', () => {})
  return queue
}

/**
 * Opens the queue of single jobs. Entry ids end in the enqueue generation, since BullMQ silently ignores an id it still
 * knows.
 */
export function createJobQueue(redis: Redis, keys: Keys, telemetry?: Telemetry) {
  const queue: Queue<JobEntry> = openQueue(JOBS_QUEUE, redis, keys, telemetry)
  return {
    async add(fed: readonly FedJob[]): Promise<void> {
      const [first] = fed
      if (fed.length === 1 && first) {
        await queue.add('job', entryData(first), { jobId: entryId(first) })
      } else if (fed.length > 1) {
        await queue.addBulk(
          fed.map((job) => ({ name: 'job', data: entryData(job), opts: { jobId: entryId(job) } })),
        )
      }
    },
    /** Whether BullMQ still has the entry, waiting or running. */
    async has(job: FedJob): Promise<boolean> {
      return (await queue.getJob(entryId(job))) !== undefined
    },
    close: () => queue.close(),
  }
}

export type JobQueue = ReturnType<typeof createJobQueue>

function entryId({ id, generation }: FedJob): string {
  return `${id}-${generation}`
}

function entryData({ id, generation }: FedJob): JobEntry {
  return { jobId: id, generation }
}
