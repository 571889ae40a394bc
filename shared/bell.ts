/** Wakes one waiter. A ring that comes while nobody waits is kept for the next wait. */
export type Bell = {
  ring: () => void
  /** True as soon as it rings, false after `waitMs` milliseconds or when `signal` aborts. */
  wait: (waitMs: number, signal?: AbortSignal) => Promise<boolean>
}

/** Makes a bell. */
export function createBell(): Bell {
  let rung = Promise.withResolvers<boolean>()
  return {
    ring: () => rung.resolve(true),
    async wait(waitMs, signal) {
      if (signal?.aborted) return false
      const given = Promise.withResolvers<boolean>()
      const giveUp = () => given.resolve(false)
      const timer = setTimeout(giveUp, waitMs)
      signal?.addEventListener('abort', giveUp, { once: true })
      try {
        const hasRung = await Promise.race([rung.promise, given.promise])
        if (hasRung) rung = Promise.withResolvers()
        return hasRung
      } finally {
        clearTimeout(timer)
        signal?.removeEventListener('abort', giveUp)
      }
    },
  }
}
