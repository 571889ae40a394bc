import type { Redis } from 'ioredis'
import type { Admitter } from '../shared/capacity.ts'
import { createDeliveries } from '../shared/webhooks/deliveries.ts'
import { createDeliveryLog } from '../shared/webhooks/delivery-log.ts'
import { createDeliveryQueue } from '../shared/webhooks/delivery-queue.ts'
import type { DeliveryTimes } from '../shared/webhooks/delivery-targets.ts'
import { createEvents } from '../shared/webhooks/events.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Sealer } from '../shared/seal.ts'
import { createWebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'

// A sample is tried before all other deliveries, and may wait for a worker all the same.
const SAMPLE_WAITS_MS = 15_000

/** All that the API has for webhooks, joined up. The caller closes the connection. */
export function openWebhooks(
  deps: {
    redis: Redis
    keys: Keys
    ids: Ids
    sealer: Sealer
    capacity: Admitter
    timeoutMs: number
  } & DeliveryTimes,
) {
  const queue = createDeliveryQueue(deps.redis, deps.keys)
  // It claims none.
  const leaseMs = deps.timeoutMs
  return {
    /** What the routes need. */
    services: {
      webhookEndpoints: createWebhookEndpoints(deps),
      deliveries: createDeliveries({ ...deps, queue, leaseMs }),
      deliveryLog: createDeliveryLog({ ...deps, queue }),
      events: createEvents(deps),
      /** How long the answer to a sample is waited for. */
      testWaitMs: deps.timeoutMs + SAMPLE_WAITS_MS,
    },
    close: () => queue.close(),
  }
}

/** What the routes of webhooks need of the stores. */
export type WebhookServices = ReturnType<typeof openWebhooks>['services']
