/** Wakes one waiter. A ring that comes while nobody waits is kept for the next wait. */
export type Bell = {
  ring: () => void
  /** True as soon as it rings, false after `waitMs` milliseconds or when `signal` aborts. */
  wait: (waitMs: number, signal?: AbortSignal) => Promise<boolean>
}

/** Makes a bell. */
export function createBell(): Bell {
  let isRung = false
  let wake: (() => void) | null = null
  return {
    ring() {
      isRung = true
      wake?.()
    },
    async wait(waitMs, signal) {
      if (signal?.aborted) return false
      if (!isRung) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = () => resolve()
        const timer = setTimeout(wake, Math.max(0, waitMs))
        signal?.addEventListener('abort', wake, { once: true })
        await promise
        clearTimeout(timer)
        signal?.removeEventListener('abort', wake)
        wake = null
      }
      const hasRung = isRung
      isRung = false
      return hasRung
    },
  }
}
