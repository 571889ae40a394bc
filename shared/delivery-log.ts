import type { Redis } from 'ioredis'
import type { DeliveryQueue } from './delivery-queue.ts'
import type { DeliveryState, DeliveryView } from './delivery-record.ts'
import type { Keys } from './keys.ts'

export type DeliveryFilter = {
  /** Only deliveries to this endpoint of the tenant; the caller has looked whose it is. */
  endpointId?: string
  subject?: string
  state?: DeliveryState
  after?: string
  limit: number
}

export type DeliveryPage = {
  deliveries: DeliveryView[]
  hasMore: boolean
  /** Set when the search stopped before the page was full: where to go on. */
  goOnFrom: string | null
}

/** What became of the wish to send one delivery again. `erased`: what it carried is gone. */
export type Redelivered = { kind: 'pending'; delivery: DeliveryView } | { kind: 'erased' | 'unknown' }

/** What a tenant may see of its deliveries, and have sent again. Reached by tenant and id. */
export function createDeliveryLog(deps: { redis: Redis; keys: Keys; queue: DeliveryQueue }) {
  async function read(tenant: string, id: string): Promise<DeliveryView | null> {
    throw new Error(`${tenant} ${id} ${typeof deps}`)
  }

  /** A page of a tenant's deliveries, newest first. @returns null when `after` names none of them. */
  async function list(tenant: string, filter: DeliveryFilter): Promise<DeliveryPage | null> {
    throw new Error(`${tenant} ${filter.limit}`)
  }

  /** Sends an ended delivery again, with all of its tries anew under the same `webhook-id`; one that waits is tried now. */
  async function redeliver(tenant: string, id: string): Promise<Redelivered> {
    throw new Error(`${tenant} ${id}`)
  }

  /** Sends again, oldest first, what was created in this time for an endpoint and not delivered. @returns how many. */
  async function recover(
    tenant: string,
    endpointId: string,
    sinceMs: number,
    untilMs: number,
  ): Promise<number> {
    throw new Error(`${tenant} ${endpointId} ${sinceMs} ${untilMs}`)
  }

  /** Forgets a tenant's ended deliveries that are older. @returns how many. */
  async function trim(tenant: string, beforeMs: number): Promise<number> {
    throw new Error(`${tenant} ${beforeMs}`)
  }

  return { read, list, redeliver, recover, trim }
}

export type DeliveryLog = ReturnType<typeof createDeliveryLog>
