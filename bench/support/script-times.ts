import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'

/** One command that a client sent, as Redis logged it: its name or that of its script, and how long it ran. */
export type LoggedCommand = { name: string; us: number; commandsInside: number }

const POLL_MS = 100
const ENTRIES_MAX = 200_000
/** Commands that only this watch sends. */
const OWN = new Set(['slowlog', 'config', 'info', 'multi', 'exec'])

/**
 * Collects what Redis logs as slow while `work` is done, which is what takes at least `thresholdUs`: with 0 every command, also
 * those inside of scripts, which makes scripts take longer by the logging of each. Redis' slow log is its own meanwhile.
 * @param names Of scripts, by hash.
 * @returns the commands that clients sent, beside what the work gave.
 */
export async function watchCommands<Result>(
  redis: Redis,
  names: ReadonlyMap<string, string>,
  thresholdUs: number,
  work: () => Promise<Result>,
): Promise<{ result: Result; logged: LoggedCommand[] }> {
  const logged: LoggedCommand[] = []
  // Of the script that comes next: a script is logged behind the commands that it ran.
  let commandsInside = 0

  async function collect(): Promise<void> {
    // In one step, so that no entry is lost between the two.
    const replies = await redis.multi().call('SLOWLOG', 'GET', '-1').call('SLOWLOG', 'RESET').exec()
    const entries = (replies?.[0]?.[1] ?? []) as [number, number, number, string[], string][] // as Redis documents it
    for (const [, , us, words, client] of entries.toReversed()) {
      const [command = '', sha = ''] = words
      const isInside = /^\??:0$/.test(client)
      const name = command.toLowerCase()
      if (isInside) commandsInside += 1
      else if (name === 'evalsha' || name === 'eval') {
        const scriptName =
          names.get(sha) ?? (name === 'eval' ? 'a script’s first time' : `script ${sha.slice(0, 8)}`)
        logged.push({ name: scriptName, us, commandsInside })
        commandsInside = 0
      } else if (!OWN.has(name)) logged.push({ name: name.toUpperCase(), us, commandsInside: 0 })
    }
  }

  const done = new AbortController()
  async function poll(): Promise<void> {
    while (!done.signal.aborted) {
      await sleep(POLL_MS)
      await collect()
    }
  }

  await redis.config('SET', 'slowlog-max-len', ENTRIES_MAX, 'slowlog-log-slower-than', thresholdUs)
  await redis.slowlog('RESET')
  const [worked, polled] = await Promise.allSettled([work().finally(() => done.abort()), poll()])
  await redis.config('SET', 'slowlog-log-slower-than', -1)
  if (worked.status === 'rejected') throw worked.reason
  if (polled.status === 'rejected') throw polled.reason
  return { result: worked.value, logged }
}
