import type { Redis } from 'ioredis'
import { createBell } from '../bell.ts'
import type { Keys } from '../keys.ts'
import type { Watch } from '../jobs/settled.ts'

/**
 * Hears of batches that somebody follows: that lines settled, or that the state changed. One subscriber connection a process,
 * one subscription a batch that is watched. A word is a hint and may be lost: whoever waits looks again every two seconds.
 *
 * @param subscriber A connection of its own; the caller closes it.
 */
export function createBatchListener(subscriber: Redis, keys: Keys) {
  const watchers = new Map<string, Set<() => void>>()

  const onMessage = (channel: string) => {
    for (const ring of watchers.get(channel) ?? []) ring()
  }
  subscriber.on('message', onMessage)

  /** From now on; the first look at the batch comes after it. */
  function watch(batchId: string): Watch & { ring: () => void } {
    const channel = keys.batchChannel(batchId)
    const { ring, wait } = createBell()
    const all = watchers.get(channel) ?? new Set()
    watchers.set(channel, all.add(ring))
    // Lost with the connection, and taken up again by ioredis. What happened before it holds is looked for then.
    if (all.size === 1)
      void subscriber.subscribe(channel).then(
        () => wakeAll(channel),
        () => undefined,
      )
    return { wait, ring, close: () => leave(channel, ring) }
  }

  function wakeAll(channel: string): void {
    for (const ring of watchers.get(channel) ?? []) ring()
  }

  function leave(channel: string, ring: () => void): void {
    const all = watchers.get(channel)
    if (!all?.delete(ring) || all.size > 0) return
    watchers.delete(channel)
    subscriber.unsubscribe(channel).catch(() => undefined)
  }

  return {
    watch,
    /** How many batches are watched. */
    size: () => watchers.size,
    close() {
      subscriber.off('message', onMessage)
      watchers.clear()
    },
  }
}

export type BatchListener = ReturnType<typeof createBatchListener>
