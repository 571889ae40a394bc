import type { Redis } from 'ioredis'
import type { Attended } from '../shared/jobs/attended.ts'
import type { JobControl } from '../shared/jobs/job-control.ts'
import type { Keys } from '../shared/keys.ts'

const AT_ONCE_MAX = 100

/** Cancels sync jobs whose caller left and has not come back for as long as they may go on without. */
export function createLeftJobs(deps: {
  redis: Redis
  keys: Keys
  attended: Attended
  control: Pick<JobControl, 'cancel'>
}): () => Promise<void> {
  const { redis, keys, attended, control } = deps
  return async function cancelLeft(): Promise<void> {
    const ids = await attended.left(AT_ONCE_MAX)
    for (const id of ids) {
      const tenant = await redis.hget(keys.job(id), 'tenant')
      if (tenant !== null) await control.cancel(tenant, id)
    }
    await attended.drop(...ids)
  }
}
