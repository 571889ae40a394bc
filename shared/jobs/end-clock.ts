import type { Redis } from 'ioredis'
import type { Keys } from '../keys.ts'
import { TERMINAL_STATUSES } from '../schemas/job.ts'

const LOOK_EVERY_MS = 2_000
const AT_ONCE_MAX = 500

/** Whether the clock looks after what goes by this id. */
export function isLookedAfter(id: string): boolean {
  return id.startsWith('job_')
}

/**
 * Looks every two seconds which of the jobs that are waited for have ended: the message that says so can be lost with its
 * connection. All of a process together, and nothing but their state: thousands that wait cost Redis and the process less
 * than if each of them looked for itself.
 *
 * @param deps.watched ids that are waited for.
 * @param deps.ring wakes whoever waits for one.
 */
export function startEndClock(deps: {
  redis: Redis
  keys: Keys
  watched: () => Iterable<string>
  ring: (id: string) => void
}): { close: () => void } {
  const { redis, keys } = deps
  let isClosed = false
  let timer = setTimeout(tick, LOOK_EVERY_MS)

  function tick(): void {
    void look()
      // Redis is away: it is asked again.
      .catch(() => undefined)
      .finally(() => {
        if (!isClosed) timer = setTimeout(tick, LOOK_EVERY_MS)
      })
  }

  async function look(): Promise<void> {
    const ids = [...deps.watched()].filter(isLookedAfter)
    for (let at = 0; at < ids.length; at += AT_ONCE_MAX) {
      const some = ids.slice(at, at + AT_ONCE_MAX)
      const pipeline = redis.pipeline()
      for (const id of some) pipeline.hget(keys.job(id), 'status')
      const replies = (await pipeline.exec()) ?? []
      for (const [index, [error, status]] of replies.entries()) {
        const id = some[index]
        if (!error && id !== undefined && hasEnded(status)) deps.ring(id)
      }
    }
  }

  return {
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}

// One that is gone has nothing more to come either.
function hasEnded(status: unknown): boolean {
  return status === null || (typeof status === 'string' && TERMINAL_STATUSES.has(status))
}
