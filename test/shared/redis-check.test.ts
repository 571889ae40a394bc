import { EventEmitter } from 'node:events'
import { Redis } from 'ioredis'
import { afterEach, expect, test } from 'vitest'
import { ConfigError } from '../../shared/errors.ts'
import { createLog } from '../../shared/log.ts'
import { checkRedis, isRedisOutage, refusedWrite } from '../../shared/redis-check.ts'
import { createRedis } from '../../shared/redis.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/redis-process.ts'
import { ownRedis, startRedis, testRedis } from '../support/redis.ts'

const log = createLog('silent', 'test')
const OLD_INFO = 'redis_version:6.0.16\r\nmaxmemory_policy:noeviction\r\n'
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** A Redis of the test's own, with this setting changed, and a connection as the processes make it. */
async function redisWith(setting: string, value: string): Promise<Redis> {
  const server = await startRedis()
  closers.push(() => server.stop())
  const admin = new Redis(server.url)
  await admin.config('SET', setting, value)
  admin.disconnect()
  const redis = createRedis(server.url, 'commands', log)
  closers.push(() => redis.disconnect())
  return redis
}

test('a Redis that never drops keys is taken', async () => {
  const own = testRedis()
  closers.push(() => own.cleanup())
  await checkRedis(own.redis, log)
})

test.skipIf(!ownRedis().isPossible)(
  'a Redis that may drop jobs is refused, by name of the setting',
  async () => {
    const redis = await redisWith('maxmemory-policy', 'allkeys-lru')
    await expect(checkRedis(redis, log)).rejects.toThrow(/maxmemory-policy "allkeys-lru".*noeviction/)
  },
)

test.skipIf(!ownRedis().isPossible)(
  'a refused login ends the start instead of being tried for ever',
  async () => {
    const redis = await redisWith('requirepass', 'another-password')
    await expect(checkRedis(redis, log)).rejects.toThrow(/refuses the login/)
  },
)

test('a Redis older than 6.2 is refused', async () => {
  const old = Object.assign(new EventEmitter(), { info: () => Promise.resolve(OLD_INFO) }) as unknown as Redis
  await expect(checkRedis(old, log)).rejects.toThrow(ConfigError)
})

test('a Redis that is down at the start is waited for', async () => {
  const port = await freePort()
  const redis = createRedis(`redis://127.0.0.1:${port}`, 'commands', log)
  closers.push(() => redis.disconnect())
  const lines: string[] = []
  const listening = { ...log, warn: (line: string) => lines.push(line) } as unknown as typeof log
  const stopping = new AbortController()
  const checked = checkRedis(redis, listening, stopping.signal).then(
    () => 'passed',
    (error: Error) => error.name,
  )
  await eventually('the log says so', () => lines.some((line) => line.includes('does not answer')))
  stopping.abort()
  expect(await checked).toBe('AbortError')
})

test.for([
  "Stream isn't writeable and enableOfflineQueue options is false",
  'Connection is closed.',
  'Command timed out',
  'LOADING Redis is loading the dataset in memory',
  "OOM command not allowed when used memory > 'maxmemory'.",
  "READONLY You can't write against a read only replica.",
  // As 6.2 says it of a script, and of one of its calls.
  "ERR Error running script (call to f_5f): @user_script:5: @user_script: 5: -READONLY You can't write against a",
  "@user_script: 5: -READONLY You can't write against a read only replica.",
])('%j is an outage', (message) => {
  expect(isRedisOutage(new Error(message))).toBe(true)
})

// As Redis 7 says it, also of a script; and as 6.2 says it of one.
test.for([
  ["OOM command not allowed when used memory > 'maxmemory'.", 'full'],
  ["OOM command not allowed when used memory > 'maxmemory'. script: 5f, on @user_script:9.", 'full'],
  [
    'ERR Error running script (call to f_5f): @user_script:5: @user_script: 5: -OOM command not allowed',
    'full',
  ],
  ['MISCONF Redis is configured to save RDB snapshots, but', 'readonly'],
  ['MISCONF Errors writing to the AOF file: No space left on device', 'readonly'],
  ['READONLY You can not write against a read only replica.', null],
  ['ERR a value that holds: MISCONF', null],
] as const)('%j says whether a write was refused, and why', ([message, why]) => {
  const error = new Error(message)
  expect(refusedWrite(error)).toBe(why)
  if (why !== null) expect(isRedisOutage(error)).toBe(true)
})

test.for([
  'WRONGTYPE Operation against a key',
  'ERR unknown command',
  'The connection is closed to visitors',
])('%j is our own mistake', (message) => {
  expect(isRedisOutage(new Error(message))).toBe(false)
})
