import type { Logger } from '../shared/log.ts'
import type { JobQueue } from '../shared/queues.ts'
import type { Window } from '../shared/window.ts'

const AT_ONCE_MAX = 200

/**
 * Lets waiting jobs into the window and enqueues them: one feed at a time in a process, and one more when asked meanwhile.
 * A failure is logged only: the sweeper feeds again.
 */
export function createFeeder(window: Window, queue: JobQueue, log: Logger) {
  let isFeeding = false
  let isWanted = false

  async function feedAll(): Promise<void> {
    for (;;) {
      isWanted = false
      const fed = await window.feed(AT_ONCE_MAX)
      await queue.add(fed)
      if (fed.length < AT_ONCE_MAX && !isWanted) return
    }
  }

  return async function feed(): Promise<void> {
    isWanted = true
    if (isFeeding) return
    isFeeding = true
    try {
      await feedAll()
    } catch (error) {
      log.warn({ err: error }, 'Waiting jobs could not be enqueued; the sweeper will')
    } finally {
      isFeeding = false
    }
  }
}

export type Feed = ReturnType<typeof createFeeder>
