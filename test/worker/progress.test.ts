import { Redis } from 'ioredis'
import { afterEach, expect, test } from 'vitest'
import { createKeys } from '../../shared/keys.ts'
import { createProgress } from '../../worker/progress.ts'
import { ownRedis, startRedis } from '../support/redis.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

test.skipIf(!ownRedis().isPossible)(
  'a shard that gets ahead is seen to do so in a full Redis too, and what could not be said is said later',
  async () => {
    const server = await startRedis()
    closers.push(() => server.stop())
    const redis = new Redis(server.url)
    closers.push(() => redis.disconnect())
    const keys = createKeys('test')
    const [first, second] = [createProgress(redis, keys), createProgress(redis, keys)]
    const isSaid = async () => (await redis.pttl(keys.progress)) > 2_000
    await first.tell()
    expect(await isSaid()).toBe(false)
    first.moved()
    await first.tell()
    expect(await isSaid()).toBe(true)

    await redis.pexpire(keys.progress, 2_000)
    await redis.config('SET', 'maxmemory', '1')
    first.moved()
    await first.tell()
    expect(await isSaid()).toBe(true)

    await redis.del(keys.progress)
    second.moved()
    await expect(second.tell()).rejects.toThrow(/OOM/)
    await redis.config('SET', 'maxmemory', '0')
    await second.tell()
    expect(await isSaid()).toBe(true)
  },
)
