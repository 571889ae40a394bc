import { setTimeout as pause } from 'node:timers/promises'

/** Thrown by a check that knows it will never be so: the wait ends at once. */
export class Hopeless extends Error {}

type Falsy = false | null | undefined | 0 | ''

/** Longer than a machine with other things to do stands still: only what is never so takes that long. */
export const PATIENCE_MS = Number(process.env['TEST_PATIENCE_MS'] ?? 120_000)

/** Who has waited long is asked less often: what the answers cost is taken from what is waited for. */
const EVERY_MS_MAX = 50

/**
 * Asks again until `check` gives something truthy, and gives that back. A check that throws counts as "not yet".
 * @param timeoutMs deadline in milliseconds; then the last error is thrown, or one that says what was waited for.
 */
export async function eventually<T>(
  what: string,
  check: () => T | Promise<T>,
  { timeoutMs = PATIENCE_MS, everyMs = 15 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<Exclude<T, Falsy>> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  for (let pauseMs = everyMs; ; pauseMs = Math.max(everyMs, Math.min(pauseMs * 1.1, EVERY_MS_MAX))) {
    try {
      const value = await check()
      if (value) return value as Exclude<T, Falsy>
      last = value
    } catch (error) {
      if (error instanceof Hopeless) throw error
      last = error
    }
    if (performance.now() > deadline) throw new Error(describe(what, timeoutMs, last), { cause: last })
    await pause(pauseMs)
  }
}

function describe(what: string, timeoutMs: number, last: unknown): string {
  const seen = last instanceof Error ? last.message : JSON.stringify(last)
  return `${what}: not so after ${timeoutMs} ms. Last seen: ${seen}`
}

/** A promise and what settles it: for a reply that is held until the test lets it go. */
export function gate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: () => resolve() }
}

/** Holds whoever comes, and lets them through in the order in which they came: as many as it is told to. */
export function turnstile() {
  const held: (() => void)[] = []
  let left = 0
  function letThrough(count: number): void {
    left += count
    while (left > 0 && held.length > 0) {
      left -= 1
      held.shift()?.()
    }
  }
  return {
    pass: (): Promise<void> =>
      new Promise((resolve) => {
        held.push(resolve)
        letThrough(0)
      }),
    /** Lets so many more through, those that have yet to come among them. */
    letThrough,
    open: () => letThrough(Number.POSITIVE_INFINITY),
  }
}

/** For what must not happen: waits a moment for it. A machine that stands still meanwhile makes this weaker, never wrong. */
export async function moment(ms = 500): Promise<void> {
  await pause(ms)
}
