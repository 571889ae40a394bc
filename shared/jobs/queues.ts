import { Queue, type Telemetry } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'

/** Queue of single jobs, called for by a person or a service that waits. */
export const JOBS_QUEUE = 'jobs'

/** What a queue entry holds: jobs that one worker takes together. The record is the truth, the queue carries ids. */
export type JobEntry = { jobs: [id: string, generation: number][] }

/** A job that has room in the window and wants a queue entry. `entry`: the name of one that it shares; missing or '': its own. */
export type FedJob = { id: string; generation: number; entry?: string }

// With many slots, jobs that come together go together: BullMQ's work on an entry is most of what a job costs Redis. With few,
// one worker would take what another has room for.
export const ENTRY_JOBS_MAX = 16
export const SLOTS_PER_JOB = 32

/** How many jobs an entry may hold at most. @param slots Of all live workers. */
export function entryWidth(slots: number): number {
  return Math.max(1, Math.min(ENTRY_JOBS_MAX, Math.floor(slots / SLOTS_PER_JOB)))
}

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
 * Opens the queue of single jobs. An entry's name is that of its first job and ends in the enqueue generation, since BullMQ
 * silently ignores an id it still knows.
 */
export function createJobQueue(redis: Redis, keys: Keys, telemetry?: Telemetry) {
  const queue: Queue<JobEntry> = openQueue(JOBS_QUEUE, redis, keys, telemetry)
  return {
    async add(fed: readonly FedJob[]): Promise<void> {
      const entries = [...Map.groupBy(fed, nameOf)].map(([jobId, jobs]) => {
        const data: JobEntry = { jobs: jobs.map(({ id, generation }) => [id, generation]) }
        return { name: 'jobs', data, opts: { jobId } }
      })
      const [first] = entries
      if (entries.length > 1) await queue.addBulk(entries)
      else if (first) await queue.add(first.name, first.data, first.opts)
    },
    /** Whether BullMQ still has the entry, waiting or being taken: one that lies there and stands in no list never comes up. */
    async has(job: FedJob): Promise<boolean> {
      return (await queue.getJobState(nameOf(job))) !== 'unknown'
    },
    close: () => queue.close(),
  }
}

export type JobQueue = ReturnType<typeof createJobQueue>

/**
 * The name of the entry that a job comes in which is enqueued as soon as it is stored, first of some. Should it have to wait after
 * all, the one that it is let in with later goes by another name.
 */
export function firstEntryName(id: string): string {
  return entryName({ id, generation: 0 })
}

function nameOf(job: FedJob): string {
  return job.entry || entryName(job)
}

/** The name of an entry whose first job this is. */
function entryName({ id, generation }: FedJob): string {
  return `${id}-${generation}`
}
