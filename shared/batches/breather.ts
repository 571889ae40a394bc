import { setImmediate } from 'node:timers/promises'

const WORK_MS = 5

/**
 * For work that awaits nothing for long: tells when it is time for a pause, in which all else gets its turn. Promises that
 * are there already give none.
 */
export function createBreather(workMs = WORK_MS) {
  let since = performance.now()
  return {
    isDue: (): boolean => performance.now() - since > workMs,
    async pause(): Promise<void> {
      await setImmediate()
      since = performance.now()
    },
  }
}
