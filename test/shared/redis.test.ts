import { afterEach, expect, test } from 'vitest'
import { ConfigError } from '../../shared/errors.ts'
import { createKeys } from '../../shared/keys.ts'
import { createLog } from '../../shared/log.ts'
import { createJobQueue } from '../../shared/jobs/queues.ts'
import { createRedis } from '../../shared/redis.ts'
import { eventually } from '../support/eventually.ts'
import { ownRedis, startRedis } from '../support/redis.ts'

const log = createLog('silent', 'test')
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** Opened without a server behind it: only what was read from the URL is looked at. */
function optionsOf(url: string) {
  const redis = createRedis(url, 'commands', log)
  redis.disconnect()
  return redis.options
}

test.skipIf(!ownRedis().isPossible)('a cluster is talked to, with a login', async () => {
  const server = await startRedis('off', {
    'cluster-enabled': 'yes',
    'cluster-announce-ip': '127.0.0.1',
  })
  closers.push(() => server.stop())
  const admin = createRedis(server.url, 'blocking', log)
  closers.push(() => admin.disconnect())
  await admin.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot))
  await admin.acl('SETUSER', 'gate', 'on', '>p@ss', '~*', '+@all')
  const url = `redis+cluster://gate:p%40ss@${server.url.slice('redis://'.length)}`
  for (const role of ['commands', 'blocking'] as const) {
    const redis = createRedis(url, role, log)
    closers.push(() => redis.disconnect())
    await eventually('the cluster answers', async () => (await redis.set('a', role)) === 'OK')
    expect(await Promise.all([redis.get('a'), redis.call('ACL', 'WHOAMI')])).toEqual([role, 'gate'])
  }
})

test.skipIf(!ownRedis().isPossible)('a queue that is opened while Redis is slow takes entries', async () => {
  const server = await startRedis('off')
  closers.push(() => server.stop())
  const redis = createRedis(server.url, 'commands', log, 100)
  closers.push(() => redis.disconnect())
  await eventually('Redis answers', async () => (await redis.ping()) === 'PONG')
  await redis.client('PAUSE', 300, 'ALL')
  const queue = createJobQueue(redis, createKeys('slow'))
  closers.push(() => queue.close())
  await eventually('Redis answers again', async () => (await redis.ping()) === 'PONG')
  const fed = { id: 'job_1', generation: 1 }
  await queue.add([fed])
  expect(await queue.has(fed)).toBe(true)
})

test('the login of a sentinel URL is for Redis; hosts are hosts', () => {
  const url = 'redis+sentinel://me:a%2Fb%3Ac@127.0.0.1:1,[::1]:2,localhost/main?sentinel_password=other'
  expect(optionsOf(url)).toMatchObject({
    sentinels: [
      { host: '127.0.0.1', port: 1 },
      { host: '::1', port: 2 },
      { host: 'localhost', port: 26_379 },
    ],
    name: 'main',
    username: 'me',
    password: 'a/b:c',
    sentinelPassword: 'other',
  })
})

test.for([
  'redis+cluster://gate:canary/7@127.0.0.1:1',
  'redis+cluster://gate:canary@7@127.0.0.1:1',
  'redis+cluster://127.0.0.1:1,gate:canary@127.0.0.1:2',
  'redis+cluster://gate:canary%zz@127.0.0.1:1',
  'redis+cluster://gate:canary@',
  'redis+sentinel://gate:canary@127.0.0.1:1',
  'http://gate:canary@127.0.0.1:1',
])('%s is refused, and the password not repeated', (url) => {
  const opened = () => createRedis(url, 'commands', log)
  expect(opened).toThrow(ConfigError)
  expect(opened).not.toThrow(/canary/)
})
