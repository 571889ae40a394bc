import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { createScript } from '../scripts.ts'

/** A place in the future that is kept at a deployment with limits. */
export type KeptPlace = {
  ownerId: string
  deploymentId: string
  /** Milliseconds by Redis' clock. */
  at: number
  /** Tokens, as estimated. */
  input: number
  output: number
}

const AT_ONCE_MAX = 500

/** Gives back places that were kept for calls that will not be made. */
export function createKeptPlaces({ redis, keys, windowMs }: { redis: Redis; keys: Keys; windowMs: number }) {
  const returnPlaces = createScript(redis, 'return-places')

  return async function giveBack(places: readonly KeptPlace[]): Promise<void> {
    const byDeployment = Map.groupBy(places, ({ ownerId, deploymentId }) =>
      keys.deployment(ownerId, deploymentId),
    )
    for (const [state, own] of byDeployment) {
      const [{ ownerId, deploymentId } = { ownerId: '', deploymentId: '' }] = own
      for (let from = 0; from < own.length; from += AT_ONCE_MAX) {
        const some = own.slice(from, from + AT_ONCE_MAX)
        const args = some.flatMap(({ at, input, output }) => [at, input, output])
        await returnPlaces([state, keys.usageLog(ownerId, deploymentId)], ['', windowMs, ...args])
      }
    }
  }
}

export type GiveBackPlaces = ReturnType<typeof createKeptPlaces>
