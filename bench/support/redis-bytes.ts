import type { Redis } from 'ioredis'

/** Bytes of Redis that keys, their values and its tables of keys take; without buffers of connections and of its file, and its slow log. */
export async function dataBytes(redis: Redis): Promise<number> {
  await redis.slowlog('RESET')
  const text = await redis.info('memory')
  const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1] ?? 0)
  return field('used_memory') - field('mem_clients_normal') - field('mem_aof_buffer')
}

/** Keys of one kind: how many there are, and the bytes of all. */
export type KeyKind = { kind: string; keys: number; bytes: number }

/** All keys by kind, ids left out of their names, as `MEMORY USAGE` counts them; the largest kind first. */
export async function bytesByKind(redis: Redis): Promise<KeyKind[]> {
  const kinds = new Map<string, KeyKind>()
  for await (const names of redis.scanStream({ count: 1_000 }) as AsyncIterable<string[]>) {
    const sizes = redis.pipeline()
    for (const name of names) sizes.memory('USAGE', name, 'SAMPLES', 0)
    const replies = (await sizes.exec()) ?? []
    for (const [at, name] of names.entries()) {
      const kind = name.replaceAll(/[0-9a-zA-Z_-]{16,}/g, '*')
      const found = kinds.get(kind) ?? { kind, keys: 0, bytes: 0 }
      kinds.set(kind, { kind, keys: found.keys + 1, bytes: found.bytes + Number(replies[at]?.[1] ?? 0) })
    }
  }
  return [...kinds.values()].toSorted((a, b) => b.bytes - a.bytes)
}
