import type { Redis } from 'ioredis'
import type { LineState } from '../shared/batches/batch-record.ts'
import { isLineId, readLineId } from '../shared/batches/batch-results.ts'
import type { Durability, Kept } from '../shared/durability.ts'
import type { Keys } from '../shared/keys.ts'

/**
 * Whether the calls that a job, or a line, has made and is about to make are noted on the disk of Redis: waits until they are.
 * @param id Of the job or the line. @param attempts How many must be noted.
 */
export type NotedOnDisk = (id: string, attempts: number) => Promise<Kept>

/** Waits for the notes of calls. */
export function createNotedOnDisk(durability: Pick<Durability, 'wait'>, keys: Keys): NotedOnDisk {
  return (id, attempts) =>
    durability.wait(keys.fsyncMark, async (redis) => (await notedOf(redis, keys, id)) >= attempts)
}

async function notedOf(redis: Redis, keys: Keys, id: string): Promise<number> {
  if (!isLineId(id)) return Number(await redis.hget(keys.job(id), 'attempts'))
  const { batchId, line } = readLineId(id)
  const state = await redis.hget(keys.batchLines(batchId), String(line))
  return state === null ? 0 : (JSON.parse(state) as LineState).attemptsMade // as our script wrote it
}
