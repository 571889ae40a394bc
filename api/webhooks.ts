import type { Redis } from 'ioredis'
import { createDeliveries } from '../shared/deliveries.ts'
import { createDeliveryLog } from '../shared/delivery-log.ts'
import { createDeliveryQueue } from '../shared/delivery-queue.ts'
import { createEvents } from '../shared/events.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Sealer } from '../shared/seal.ts'
import { createWebhookEndpoints } from '../shared/webhook-endpoints.ts'

/** All that the API has for webhooks, joined up. The caller closes the connection. */
export function openWebhooks(deps: { redis: Redis; keys: Keys; ids: Ids; sealer: Sealer }) {
  const queue = createDeliveryQueue(deps.redis, deps.keys)
  return {
    /** What the routes need. */
    services: {
      webhookEndpoints: createWebhookEndpoints(deps),
      deliveries: createDeliveries({ ...deps, queue }),
      deliveryLog: createDeliveryLog({ ...deps, queue }),
      events: createEvents(deps),
    },
    close: () => queue.close(),
  }
}

/** What the routes of webhooks need of the stores. */
export type WebhookServices = ReturnType<typeof openWebhooks>['services']
