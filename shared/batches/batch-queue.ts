import type { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { openQueue } from '../jobs/queues.ts'

/** Queue of the chunks that batches are run in. */
export const BATCHES_QUEUE = 'batches'

/** Queue of inputs that are to be validated: each is seconds of work, which must hold up nobody's lines. */
export const CHECKS_QUEUE = 'batch-checks'

/** What a queue entry holds: the record is the truth, the queue carries ids. */
export type ChunkEntry = { batchId: string; chunk: string; generation: number }

/** A piece of work on a batch that wants a queue entry: `v` validates its input, a number runs lines of it, `f` finishes it. */
export type FedChunk = { batchId: string; chunk: string; generation: number }

// BullMQ's lowest priority.
const TURN_MAX = 2_097_152

/** Opens the queues of chunks for adding. Entry ids end in the enqueue generation, as those of jobs do. */
export function createBatchQueue(redis: Redis, keys: Keys) {
  const chunks: Queue<ChunkEntry> = openQueue(BATCHES_QUEUE, redis, keys)
  const checks: Queue<ChunkEntry> = openQueue(CHECKS_QUEUE, redis, keys)
  const queueOf = ({ chunk }: FedChunk) => (chunk === 'v' ? checks : chunks)

  return {
    /** @param turn Of checks: those with a lower one are taken first. */
    async add(fed: readonly FedChunk[], turn = 1): Promise<void> {
      for (const queue of [checks, chunks]) {
        const priority = queue === checks ? { priority: Math.min(Math.max(1, turn), TURN_MAX) } : {}
        const own = fed.filter((one) => queueOf(one) === queue)
        if (own.length === 0) continue
        await queue.addBulk(
          own.map((chunk) => ({ name: 'chunk', data: chunk, opts: { jobId: entryId(chunk), ...priority } })),
        )
      }
    },
    /** Whether BullMQ still has the entry, waiting or running. */
    async has(chunk: FedChunk): Promise<boolean> {
      return (await queueOf(chunk).getJobState(entryId(chunk))) !== 'unknown'
    },
    async close(): Promise<void> {
      await Promise.all([chunks.close(), checks.close()])
    },
  }
}

export type BatchQueue = ReturnType<typeof createBatchQueue>

function entryId({ batchId, chunk, generation }: FedChunk): string {
  return `${batchId}-${chunk}-${generation}`
}
