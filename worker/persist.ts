import { setTimeout as delay } from 'node:timers/promises'

const WAITS_MS = [20, 50, 100, 200, 500, 1000]
// Answers of a Redis that will take the same command again later: loading, failing over, full, or unable to save.
const PASSING = /^(LOADING|READONLY|OOM|MISCONF|CLUSTERDOWN|TRYAGAIN|MASTERDOWN|UNKILLABLE|BUSY)/

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
      if (!(error instanceof Error)) throw error
      if (error.name === 'ReplyError' && !PASSING.test(error.message)) throw error
      if (isGivenUp()) throw new RedisAwayError('Redis did not come back in time', { cause: error })
      await delay(WAITS_MS[Math.min(tries, WAITS_MS.length - 1)])
    }
  }
}
