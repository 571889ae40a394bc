import type { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import { openQueue } from './queues.ts'

/** Queue of webhook deliveries, one entry a try. */
export const WEBHOOKS_QUEUE = 'webhooks'

/** What a queue entry holds: the record is the truth, the queue carries ids. */
export type DeliveryEntry = { deliveryId: string }

/** A delivery that wants its next try. */
export type DueDelivery = { id: string; attempt: number }

/**
 * Opens the queue of webhook deliveries for adding. Entry ids end in the number of the try, so one that is added twice is
 * one entry. The wait between tries is never spent here.
 */
export function createDeliveryQueue(redis: Redis, keys: Keys) {
  const queue: Queue<DeliveryEntry> = openQueue(WEBHOOKS_QUEUE, redis, keys)
  return {
    async add(due: readonly DueDelivery[]): Promise<void> {
      if (due.length === 0) return
      const entries = due.map(({ id, attempt }) => ({
        name: 'delivery',
        data: { deliveryId: id },
        opts: { jobId: `${id}-${attempt}` },
      }))
      await queue.addBulk(entries)
    },
    close: () => queue.close(),
  }
}

export type DeliveryQueue = ReturnType<typeof createDeliveryQueue>
