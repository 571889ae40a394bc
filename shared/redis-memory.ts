import type { Redis } from 'ioredis'
import { infoOfNodes } from './redis.ts'

/** How much memory Redis takes, as it counts against its `maxmemory`, and that; null: it has none. */
export type RedisMemory = { usedBytes: number; bytesMax: number | null }

/** Reads it by `INFO`, which managed servers allow; of a cluster that of the fullest node. */
export async function readMemory(redis: Redis): Promise<RedisMemory> {
  const all = (await infoOfNodes(redis, 'memory')).map(parseMemory)
  return all.reduce((fullest, node) => (fillOf(node) > fillOf(fullest) ? node : fullest))
}

function parseMemory(info: string): RedisMemory {
  const number = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
  // Buffers of replicas and of the append-only file come and go, and Redis refuses no write for them.
  const usedBytes = number('used_memory') - number('mem_not_counted_for_evict')
  return { usedBytes, bytesMax: number('maxmemory') || null }
}

function fillOf({ usedBytes, bytesMax }: RedisMemory): number {
  return usedBytes / (bytesMax ?? Number.MAX_SAFE_INTEGER)
}
