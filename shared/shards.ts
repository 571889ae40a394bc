import { hash } from 'node:crypto'
import type { Redis } from 'ioredis'
import { ConfigError } from './errors.ts'
import { createKeys, type Keys } from './keys.ts'

const SLOTS = 16_384
// A shard's slot lies in the middle half of its part of all slots: a name for that is found after some two tries a shard.
const NEAR = 4

/**
 * The keys of each shard (docs/decisions/0026): everything of a tenant lies in one of them. The slots of `count` shards are spread
 * evenly over those of a cluster, whose nodes hold equal parts in order unless they were moved.
 */
export function shardKeys(prefix: string, count: number): Keys[] {
  return Array.from({ length: count }, (_, index) => createKeys(prefix, tagOf(index, count)))
}

/** Which shard holds all of a tenant: the same for as long as their number is. */
function shardOf(tenant: string, count: number): number {
  return count === 1 ? 0 : hash('sha256', tenant, 'buffer').readUInt32BE() % count
}

/** What the shard of a tenant has, of what each shard has. */
export function ofTenant<T>(shards: readonly T[], tenant: string): T {
  const own = shards[shardOf(tenant, shards.length)]
  if (own === undefined) throw new Error('There is no shard.')
  return own
}

/**
 * Makes sure that nobody counts the shards of this installation otherwise: whoever comes first says how many there are.
 * @throws {ConfigError} when it has another number.
 */
export async function claimShards(redis: Redis, keys: Keys, count: number): Promise<void> {
  const before = await readShards(redis, keys)
  if (before === null) await redis.set(keys.shards, count, 'NX')
  const known = before ?? Number(await redis.get(keys.shards))
  if (known === count) return
  throw new ConfigError(
    `GATEWAY_SHARDS is ${count}, and what Redis holds is spread over ${known}. Their number is chosen once: set GATEWAY_SHARDS=${known}, or begin anew under another GATEWAY_KEY_PREFIX (docs/scaling.md).`,
  )
}

/** How many shards this installation has; null: nothing was stored yet. */
export async function readShards(redis: Redis, keys: Keys): Promise<number | null> {
  const [known, swept] = await Promise.all([
    redis.get(keys.shards),
    redis.exists(createKeys(keys.prefix).aofRewrite),
  ])
  if (known !== null) return Number(known)
  // Before there were shards nobody wrote down that there is one; the sweeper has left its trace in it.
  return swept === 1 ? 1 : null
}

/** One shard keeps the name that it had before there were more. */
function tagOf(index: number, count: number): string {
  if (count === 1) return 's0'
  const part = SLOTS / count
  const middle = (index + 0.5) * part
  for (let number = 0; ; number += 1) {
    const tag = number === 0 ? `s${index}` : `s${index}-${number}`
    if (Math.abs(slotOf(tag) - middle) <= part / NEAR) return tag
  }
}

/** CRC-16/XMODEM. @see https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model */
function slotOf(tag: string): number {
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
  }
  return (crc & 0xffff) % SLOTS
}
