import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { redisNowMs } from '../redis.ts'
import { createScript } from '../scripts.ts'

/**
 * Sync jobs whose deadline is later than they may go on without a caller, by until when one is taken to wait for them. The API
 * process that a caller hangs on prolongs that time; when it is over, because the caller left or the process is gone, the
 * sweeper cancels the job.
 */
export function createAttended({ redis, keys }: { redis: Redis; keys: Keys }) {
  const attendJobs = createScript(redis, 'attend-jobs')
  return {
    /** Notes that somebody waits for these jobs now. `isNew`: they need not be known as attended so far. */
    async note(ids: readonly string[], leftMs: number, isNew: boolean): Promise<void> {
      if (ids.length > 0) await attendJobs([keys.attended], ['', leftMs, isNew ? '1' : '0', ...ids])
    },

    /** They end by themselves, or have: nobody looks at them for this any more. */
    async drop(...ids: readonly string[]): Promise<void> {
      if (ids.length > 0) await redis.zrem(keys.attended, ...ids)
    },

    /** Jobs that nobody has waited for, for as long as they may go on without. */
    async left(jobsMax: number): Promise<string[]> {
      return redis.zrangebyscore(keys.attended, '-inf', await redisNowMs(redis), 'LIMIT', 0, jobsMax)
    },
  }
}

export type Attended = ReturnType<typeof createAttended>
