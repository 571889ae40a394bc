import { setTimeout as delay } from 'node:timers/promises'
import { isRedisOutage } from '../shared/redis-check.ts'
import type { Hold } from './running.ts'

const WAITS_MS = [20, 50, 100, 200, 500, 1000]

/** Redis stayed away until it did not matter any more. */
export class RedisAwayError extends Error {}

/**
 * Does one idempotent Redis step, again and again while Redis is away: a worker that holds a paid result or a claim must
 * not lose it to a restart of Redis.
 * @param isGivenUp Asked before each further try; true ends the waiting.
 * @throws {RedisAwayError} when given up; anything that Redis' absence does not explain is thrown as it is.
 */
export async function persist<T>(step: () => Promise<T>, isGivenUp: () => boolean): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await step()
    } catch (error) {
      if (!isRedisOutage(error)) throw error
      if (isGivenUp()) throw new RedisAwayError('Redis did not come back in time', { cause: error })
      await delay(WAITS_MS[Math.min(tries, WAITS_MS.length - 1)])
    }
  }
}

/** The same for a step of a running job. Anything but settling is given up when the job was stopped: its lease may be another's by now. */
export function persistUnlessStopped<T>(hold: Hold, step: () => Promise<T>): Promise<T> {
  return persist(step, () => hold.reason() !== null)
}
