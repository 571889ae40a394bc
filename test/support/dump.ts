import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Redis } from 'ioredis'

/** Every key of the database with everything in it, as bytes: what somebody who holds Redis can read. */
export async function dumpRedis(redis: Redis): Promise<Buffer> {
  const parts: (Buffer | string)[] = []
  for await (const keys of redis.scanStream({ count: 1000 })) {
    for (const key of keys as string[]) parts.push(key, ...(await readKey(redis, key)))
  }
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.from(part), Buffer.from('\n')])))
}

/** All files of a folder, one after the other. */
export async function dumpFolder(folder: string): Promise<Buffer> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return Buffer.concat(await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name)))))
}

async function readKey(redis: Redis, key: string): Promise<(Buffer | string)[]> {
  const type = await redis.type(key)
  switch (type) {
    case 'string':
      return [(await redis.getBuffer(key)) ?? '']
    case 'hash':
      return Object.entries(await redis.hgetallBuffer(key)).flatMap(([field, value]) => [field, value])
    case 'list':
      return redis.lrangeBuffer(key, 0, -1)
    case 'set':
      return redis.smembersBuffer(key)
    case 'zset':
      return redis.zrangeBuffer(key, '0', '-1')
    case 'stream':
      return (await redis.xrangeBuffer(key, '-', '+')).flatMap(([id, fields]) => [String(id), ...fields])
    // A key that ended meanwhile.
    case 'none':
      return []
    default:
      throw new Error(`This dump can't read keys of type ${type}.`)
  }
}
