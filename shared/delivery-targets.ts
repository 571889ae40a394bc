import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'

/** What others change of the places that deliveries go to. */
export function createDeliveryTargets(deps: { redis: Redis; keys: Keys }) {
  /**
   * To be called when an endpoint was enabled, disabled, deleted or given another URL: how it behaved is forgotten, and what
   * waits for it is looked at at once.
   */
  async function lookAgain(endpointId: string): Promise<void> {
    throw new Error(`${endpointId} ${typeof deps}`)
  }

  return { lookAgain }
}

export type DeliveryTargets = ReturnType<typeof createDeliveryTargets>
