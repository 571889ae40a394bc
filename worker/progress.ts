import type { Redis } from 'ioredis'
import type { Keys } from '../shared/keys.ts'
import { PROGRESS_KEPT_MS } from '../shared/metrics/queue-metrics.ts'

/**
 * Says in Redis that a shard gets ahead, so that it can be seen when none of its workers does: with each heartbeat, if
 * anything ended or was put back since the last. How old that word is, its key's own TTL tells, by Redis' clock.
 */
export function createProgress(redis: Redis, keys: Keys) {
  let hasMoved = false
  return {
    /** A worker ended something, or put it back for later; what the sweeper expires is no progress. */
    moved(): void {
      hasMoved = true
    },
    async tell(): Promise<void> {
      if (!hasMoved) return
      hasMoved = false
      try {
        // A full Redis lets what is there live longer, and takes nothing new.
        const isThere = await redis.pexpire(keys.progress, PROGRESS_KEPT_MS)
        if (isThere === 0) await redis.set(keys.progress, 1, 'PX', PROGRESS_KEPT_MS)
      } catch (error) {
        hasMoved = true
        throw error
      }
    },
  }
}
