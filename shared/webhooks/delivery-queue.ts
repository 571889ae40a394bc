import type { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { openQueue } from '../jobs/queues.ts'

/** Queue of webhook deliveries, one entry a try. */
export const WEBHOOKS_QUEUE = 'webhooks'

/** What a queue entry holds: the record is the truth, the queue carries ids. `targetId` is an endpoint's, or `url_...`. */
export type DeliveryEntry = { deliveryId: string; tenant: string; targetId: string }

/** A delivery that is on its way to its next try, which has this number. */
export type SentDelivery = DeliveryEntry & { number: number }

/**
 * Opens the queue of webhook deliveries for adding. Entry ids end in the number of the try, so one that is added twice is
 * one entry. The wait between tries is never spent here.
 */
export function createDeliveryQueue(redis: Redis, keys: Keys) {
  const queue: Queue<DeliveryEntry> = openQueue(WEBHOOKS_QUEUE, redis, keys)
  return {
    async add(sent: readonly SentDelivery[]): Promise<void> {
      const entries = sent.map(({ number, ...data }) => ({
        name: 'delivery',
        data,
        opts: { jobId: `${data.deliveryId}-${number}` },
      }))
      const [first] = entries
      if (first && entries.length === 1) await queue.add(first.name, first.data, first.opts)
      else if (entries.length > 1) await queue.addBulk(entries)
    },
    close: () => queue.close(),
  }
}

export type DeliveryQueue = ReturnType<typeof createDeliveryQueue>
