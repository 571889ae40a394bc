import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createCapacity, type Capacity } from '../../shared/capacity.ts'
import { createKeys } from '../../shared/keys.ts'
import { createLog } from '../../shared/log.ts'
import { readMemory } from '../../shared/redis-memory.ts'
import { eventually } from '../support/eventually.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

const MB = 1024 * 1024
const keys = createKeys('t')

describe.skipIf(!isPossible)('admission by memory', () => {
  let server: RedisProcess
  let redis: Redis
  const open: Capacity[] = []

  beforeAll(async () => {
    server = await startRedis('off')
    redis = new Redis(server.url)
  })

  afterEach(async () => {
    for (const one of open.splice(0)) one.close()
    await redis.flushall()
    await redis.config('SET', 'maxmemory', '0')
  })

  afterAll(async () => {
    redis?.disconnect()
    await server?.stop()
  })

  /** One process' view of it. */
  async function capacity({
    everyMs = 10,
    bytesMax = 20 * MB,
  }: { everyMs?: number; bytesMax?: number | null } = {}): Promise<Capacity> {
    const log = createLog('silent', 'test')
    const one = createCapacity({ redis, keys: [keys], log, highWater: 0.75, bytesMax, everyMs })
    open.push(one)
    await one.start()
    return one
  }

  // By pieces: what comes in counts as long as it lies in a buffer, too.
  async function fill(name: string, bytes: number): Promise<void> {
    const piece = Buffer.alloc(Math.min(bytes, MB / 4))
    for (let left = bytes; left > 0; left -= piece.length) await redis.append(name, piece)
  }
  const used = async () => (await readMemory(redis)).usedBytes

  test('above the mark nothing is accepted, and only below a lower one it is again', async () => {
    await redis.config('SET', 'maxmemory', `${20 * MB}`)
    const one = await capacity({ bytesMax: null })
    one.check()
    await fill('most', 15 * MB - (await used()) - MB / 2)
    await fill('rest', MB)
    await eventually('it is full', () => one.state() === 'full')
    expect(() => one.check()).toThrow(
      expect.objectContaining({
        status: 507,
        code: 'storage_full',
        shouldRetry: true,
        retryAfterSeconds: 10,
      }),
    )
    await redis.del('rest')
    // Below the mark, and not yet by a twentieth of all.
    const readings = (await redis.info('commandstats')).match(/cmdstat_info:calls=(\d+)/)?.[1]
    await eventually('it was looked at again', async () => {
      const now = (await redis.info('commandstats')).match(/cmdstat_info:calls=(\d+)/)?.[1]
      return Number(now) > Number(readings) + 10
    })
    expect(one.state()).toBe('full')
    await redis.del('most')
    await eventually('there is room', () => one.state() === 'open')
    one.check()
  })

  test('where Redis has no maximum the setting counts, and without either there is no mark', async () => {
    const [limited, unlimited] = [await capacity(), await capacity({ bytesMax: null })]
    await fill('much', 16 * MB)
    await eventually('it is full', () => limited.state() === 'full')
    unlimited.check()
  })

  test('what is kept free for results of accepted jobs counts as taken', async () => {
    const one = await capacity()
    await redis.hset(keys.account('*'), 'reserved', 15 * MB)
    await eventually('it is full', () => one.state() === 'full')
    await redis.hset(keys.account('*'), 'reserved', 0)
    await eventually('there is room', () => one.state() === 'open')
  })

  test('many submits between two readings, in two processes, do not get past the mark', async () => {
    const everyMs = 3_600_000
    const processes = [await capacity({ everyMs }), await capacity({ everyMs })]
    let count = 0
    const submitAll = async (one: Capacity) => {
      while (one.state() === 'open') {
        one.note(50_000)
        await fill(`job ${(count += 1)}`, 50_000)
      }
    }
    await Promise.all(processes.map(submitAll))
    expect(await used()).toBeLessThan(15 * MB + MB / 2)
    expect(await used()).toBeGreaterThan(13 * MB)
  })

  test('what is there already is found also when nothing is accepted', async () => {
    const one = await capacity()
    await fill('much', 16 * MB)
    await eventually('it is full', () => one.state() === 'full')
    await one.checkUnlessThere(['much', 'nothing'])
    await expect(one.checkUnlessThere(['nothing'])).rejects.toMatchObject({ code: 'storage_full' })
  })

  test('a Redis that can not save is told from one that is full, and from one that is well again', async () => {
    const one = await capacity()
    await redis.config('SET', 'save', '3600 1')
    // The file that it would put in place can't take the place of this.
    const inTheWay = join(server.folder, 'dump.rdb')
    await mkdir(join(inTheWay, 'full'), { recursive: true })
    await redis.bgsave()
    await eventually('it can not save', () => one.state() === 'readonly')
    expect(() => one.check()).toThrow(
      expect.objectContaining({ status: 503, code: 'storage_readonly', shouldRetry: true }),
    )
    await rm(inTheWay, { recursive: true })
    await redis.bgsave()
    await eventually('it saves', () => one.state() === 'open')
    await redis.config('SET', 'save', '')
  })
})
