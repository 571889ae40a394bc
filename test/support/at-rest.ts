import type { Redis } from 'ioredis'

/** A key by its name behind the prefix and the hash tag, and whether it goes by itself. */
export type LeftKey = { key: string; name: string; isFading: boolean }

// What an installation has when it is at rest.
const CONSTANT = [
  // Sums of all jobs, and of all lines in flight.
  /^account:\*$|^batch-busy$/,
  // Usage of a day, until it was exported or its time is over.
  /^usage(-days)?$|^usage:[\w-]+:\d+$/,
  // Workers and what they agree on.
  /^(workers|worker-slots|slots|sweeper|aof-rewrite|shards|progress)$/,
  /^(jobs|batches|batch-checks|webhooks):(meta|id|marker|events|stalled|stalled-check|pc)$/,
  // Gateway keys and tenants.
  /^(api-keys|tenants|tenant-index|tenant-records|hashes|of:[\w-]+)$/,
]

// What is found again for a while, and goes by itself.
const FADING = [
  /^idem:/,
  /^account:[\w-]+/,
  /^(dep|key|use|fly|line):/,
  /^file-gone:/,
  /^turns:/,
  /^batch-told:/,
  /^fsync$/,
]

/** Keys under a prefix that are neither those of an installation at rest nor about to go. */
export async function oddKeys(redis: Redis, prefix: string): Promise<LeftKey[]> {
  const found: string[] = []
  for await (const keys of redis.scanStream({ match: `${prefix}:*`, count: 1000 })) {
    found.push(...(keys as string[]))
  }
  const left = await Promise.all(
    found.map(async (key) => ({
      key,
      name: key.replace(/^[^{]*\{[^}]*\}:/, ''),
      isFading: (await redis.pttl(key)) > 0,
    })),
  )
  return left.filter(({ name, isFading }) => {
    if (CONSTANT.some((known) => known.test(name))) return false
    return !isFading || !FADING.some((known) => known.test(name))
  })
}
