import type { Redis } from 'ioredis'

/**
 * Redis's own count of its commands since it started: `calls <command>` and `us <command>`, those that scripts made
 * included; `us evalsha` holds the scripts with all they called.
 */
export async function readStatistics(redis: Redis): Promise<Record<string, number>> {
  const text = await redis.info('commandstats')
  const counters: Record<string, number> = {}
  for (const [, command = '', calls, us] of text.matchAll(/^cmdstat_(\S+?):calls=(\d+),usec=(\d+)/gm)) {
    counters[`calls ${command}`] = Number(calls)
    counters[`us ${command}`] = Number(us)
  }
  return counters
}

/** One line: the commands that are called most, with calls and microseconds a request. */
export function describeStatistics(perRequest: Record<string, number>, commandsMax = 10): string {
  return Object.entries(perRequest)
    .filter(([name, calls]) => name.startsWith('calls ') && calls >= 0.05)
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, commandsMax)
    .map(([name, calls]) => {
      const command = name.slice('calls '.length)
      return `${command} ${calls.toFixed(1)} (${(perRequest[`us ${command}`] ?? 0).toFixed(0)} us)`
    })
    .join(', ')
}
