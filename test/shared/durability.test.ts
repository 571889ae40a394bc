import { afterEach, expect, test } from 'vitest'
import { createDurability, type Durability } from '../../shared/durability.ts'
import { DurabilityUnavailableError } from '../../shared/errors.ts'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'
import { eventually } from '../support/eventually.ts'
import { ownValkey, startValkey, valkeyCommand } from '../support/power-cut.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { testRedis } from '../support/redis.ts'

const { isPossible, reason } = ownValkey()
if (!isPossible) console.log(`skipped: ${reason}`)
const TIMEOUT_MS = 2_000
const MARK = 'p:{s0}:fsync'
const log = createLog('silent', 'test')

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** @returns also how many connections were opened for it. */
function durabilityOn(url: string): { durability: Durability; opened: () => number } {
  let opened = 0
  const open = () => {
    opened += 1
    return createRedis(url, 'commands', log, TIMEOUT_MS + 1_000)
  }
  const durability = createDurability({ open, timeoutMs: TIMEOUT_MS })
  closing.push(() => durability.close())
  return { durability, opened: () => opened }
}

async function startServer(mode: 'always' | 'everysec' = 'always') {
  const valkey = await startValkey(mode)
  const redis = createRedis(valkey.url, 'blocking', log)
  closing.push(() => valkey.stop())
  closing.push(() => redis.disconnect())
  return { valkey, redis, ...durabilityOn(valkey.url) }
}

test('a Redis that can not wait for its disk says why, and nothing is ever said to be on it', async () => {
  const own = testRedis()
  closing.push(() => own.cleanup())
  const { durability } = durabilityOn(own.url)
  const mark = `${own.prefix}:{s0}:fsync`
  expect(await durability.whyNot(mark)).toMatch(/older than 7\.2|append-only file off/)
  await expect(durability.require(mark, 'durability')).rejects.toBeInstanceOf(DurabilityUnavailableError)
  expect(await durability.wait(mark, async () => true)).toBe('unsure')
})

test.skipIf(!isPossible)('what many wait for at once is one wait, and each is told of its own', async () => {
  const { redis, durability, opened } = await startServer()
  await durability.whyNot(MARK)
  await redis.config('RESETSTAT')
  await redis.set('p:{s0}:there', 1)
  const words = await Promise.all(
    Array.from({ length: 100 }, (_, at) =>
      durability.wait(
        MARK,
        async (node) => (await node.exists(at === 7 ? 'p:{s0}:gone' : 'p:{s0}:there')) === 1,
      ),
    ),
  )
  expect(words.map((word, at) => [at, word]).filter(([, word]) => word !== 'kept')).toEqual([[7, 'gone']])
  expect(await redis.info('commandstats')).toMatch(/^cmdstat_waitaof:calls=1,/m)
  // One that tried what the server does, and one that waits.
  expect(opened()).toBe(2)
})

test.skipIf(!isPossible)('a server that is away makes nobody wait for ever, nor sure', async () => {
  const { valkey, durability } = await startServer()
  expect(await durability.whyNot(MARK)).toBeNull()
  expect(await durability.wait(MARK, async () => true)).toBe('kept')
  await valkey.kill()
  expect(await durability.wait(MARK, async () => true)).toBe('unsure')
  await valkey.restart()
  expect(await durability.whyNot(MARK)).toBeNull()
})

test.skipIf(!isPossible)(
  'a server whose power is cut while it is waited for, and that is back before the wait is over, makes nobody sure',
  async () => {
    const { valkey, redis, durability } = await startServer('everysec')
    expect(await durability.whyNot(MARK)).toBeNull()
    await redis.config('RESETSTAT')
    await redis.set('p:{s0}:job', 1)
    const word = durability.wait(MARK, async (node) => (await node.exists('p:{s0}:job')) === 1)
    const isAsked = async () => (await redis.info('commandstats')).includes('cmdstat_waitaof')
    await eventually('it was asked, and its word came early', isAsked, { everyMs: 5 })
    await valkey.cutPower()
    await valkey.restart()
    expect(await word).toBe('unsure')
  },
)

test.skipIf(!isPossible)(
  'in a cluster it is the node that holds the shard that is waited for, also when that has moved',
  async () => {
    const cluster = await startRedisCluster(valkeyCommand(), { durability: 'always' })
    closing.push(() => cluster.stop())
    const { durability } = durabilityOn(cluster.url)
    const redis = createRedis(cluster.url, 'blocking', log)
    closing.push(() => redis.disconnect())
    const marks = ['a', 'b', 'c'].map((tag) => `p:{${tag}}:fsync`)
    const wait = (mark: string) =>
      durability.wait(mark, async (node) => (await node.exists(mark.replace('fsync', 'job'))) === 1)
    for (const mark of marks) {
      await redis.set(mark.replace('fsync', 'job'), 1)
      expect(await wait(mark)).toBe('kept')
    }
    const [mark = ''] = marks
    const from = await cluster.masterOf(mark)
    const to = cluster.nodes.find((node) => node !== from) ?? from
    await cluster.moveSlot(mark, to)
    expect(await wait(mark)).toBe('kept')
    expect(await to.redis.exists(mark)).toBe(1)
  },
)
