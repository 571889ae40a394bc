import type { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import { openQueue } from './queues.ts'

/** Queue of the chunks that batches are run in. */
export const BATCHES_QUEUE = 'batches'

/** What a queue entry holds: the record is the truth, the queue carries ids. */
export type ChunkEntry = { batchId: string; chunk: string; generation: number }

/** A piece of work on a batch that wants a queue entry: `v` validates its input, a number runs lines of it, `f` finishes it. */
export type FedChunk = { batchId: string; chunk: string; generation: number }

/** Opens the queue of chunks for adding. Entry ids end in the enqueue generation, as those of jobs do. */
export function createBatchQueue(redis: Redis, keys: Keys) {
  const queue: Queue<ChunkEntry> = openQueue(BATCHES_QUEUE, redis, keys)
  return {
    async add(fed: readonly FedChunk[]): Promise<void> {
      if (fed.length === 0) return
      const entries = fed.map((chunk) => ({ name: 'chunk', data: chunk, opts: { jobId: entryId(chunk) } }))
      await queue.addBulk(entries)
    },
    /** Whether BullMQ still has the entry, waiting or running. */
    async has(chunk: FedChunk): Promise<boolean> {
      return (await queue.getJob(entryId(chunk))) !== undefined
    },
    close: () => queue.close(),
  }
}

export type BatchQueue = ReturnType<typeof createBatchQueue>

function entryId({ batchId, chunk, generation }: FedChunk): string {
  return `${batchId}-${chunk}-${generation}`
}
