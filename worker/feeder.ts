import type { Logger } from '../shared/log.ts'

const AT_ONCE_MAX = 200

/**
 * Lets what waits (jobs, or chunks of batches) into its window and enqueues it: one feed at a time in a process, and one more
 * when asked meanwhile. A failure is logged only: the sweeper feeds again.
 */
export function createFeeder<Fed>(
  window: { feed: (atOnceMax: number) => Promise<Fed[]> },
  queue: { add: (fed: readonly Fed[]) => Promise<void> },
  log: Logger,
) {
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
      log.warn({ err: error }, 'What waits could not be enqueued; the sweeper will')
    } finally {
      isFeeding = false
    }
  }
}

export type Feed = ReturnType<typeof createFeeder>
