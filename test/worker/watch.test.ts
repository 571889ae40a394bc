import { afterEach, beforeEach, expect, test } from 'vitest'
import { openQueue } from '../../shared/jobs/queues.ts'
import { createKeys } from '../../shared/keys.ts'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'
import { createWatch, type Watch } from '../../worker/watch.ts'
import { startWorker } from '../../worker/workers.ts'
import { eventually, gate } from '../support/eventually.ts'
import { createFaultProxy, type FaultProxy } from '../support/fault-proxy.ts'
import { testRedis, type TestRedis } from '../support/redis.ts'

// An idle queue asks every two seconds.
const STALL_MS = 2_600
const NEVER_MS = 600_000
const log = createLog('silent', 'test')

/** What the queue takes its entries by, at first, and from the second time on. */
let first: FaultProxy
let second: FaultProxy
let own: TestRedis
let watch: Watch
let taken: number[]
let starts: number
let failures: string[]
let opened: { disconnect: () => void }[]

beforeEach(async () => {
  own = testRedis()
  first = await createFaultProxy(own.url)
  second = await createFaultProxy(own.url)
  taken = []
  failures = []
  starts = 0
  opened = []
})
afterEach(async () => {
  watch.stop()
  watch.close()
  for (const connection of opened) connection.disconnect()
  await Promise.all([first.close(), second.close()])
  await own.cleanup()
})

const noted = <T extends { disconnect: () => void }>(connection: T): T => {
  opened.push(connection)
  return connection
}

/** A queue, watched. @param commandsUrl Where the watch looks whether Redis answers. */
function watchQueue(process: (entry: number) => Promise<void>, commandsUrl = own.url) {
  const keys = createKeys(own.prefix)
  // Without ways of their own to see that a connection is dead.
  const connect = (url: string) => noted(createRedis(url, 'blocking', log, undefined, NEVER_MS))
  watch = createWatch({
    redis: noted(createRedis(commandsUrl, 'commands', log)),
    open: () => connect(second.url),
    stallMs: STALL_MS,
    fail: (reason) => failures.push(reason),
    log,
  })
  watch.add('queue', connect(first.url), (redis) => {
    starts += 1
    const times = { lockMs: 5_000, stalledCheckMs: 2_000 }
    return startWorker<number>('queue', process, { redis, keys, log, concurrency: 1, ...times })
  })
  watch.start()
  const queue = openQueue<number>('queue', noted(createRedis(own.url, 'commands', log)), keys)
  return (entry: number) => queue.add('entry', entry)
}

const take = async (entry: number): Promise<void> => void taken.push(entry)

async function stallsPass(count: number): Promise<void> {
  const since = performance.now()
  await eventually('time passes', () => performance.now() - since > count * STALL_MS)
}

test('a queue whose connections are dead without a word is begun anew on others, and goes on', async () => {
  const add = watchQueue(take)
  await add(1)
  await eventually('it takes entries', () => taken.includes(1))
  first.blackHole(true)
  await add(2)
  await eventually('it takes entries again', () => taken.includes(2), { timeoutMs: 30_000 })
  expect({ starts, failures }).toEqual({ starts: 2, failures: [] })
})

test('a process whose queue stands still also when it was begun anew gives up, and says which', async () => {
  first.blackHole(true)
  second.blackHole(true)
  watchQueue(take)
  await eventually('it gives up', () => failures.length > 0, { timeoutMs: 30_000 })
  expect(failures[0]).toContain('queue')
})

test('a queue that asks for nothing because it is full is left alone', async () => {
  const { opened: done, open } = gate()
  const add = watchQueue(async (entry) => {
    await take(entry)
    await done
  })
  await add(1)
  await add(2)
  await eventually('it is full', () => taken.length === 1)
  await stallsPass(2)
  open()
  await eventually('it goes on', () => taken.length === 2)
  expect({ starts, failures }).toEqual({ starts: 1, failures: [] })
})

test('while Redis is away no queue is begun anew: it could do no better', async () => {
  const add = watchQueue(take, first.url)
  await add(1)
  await eventually('it takes entries', () => taken.includes(1))
  first.blackHole(true)
  await stallsPass(2)
  expect({ starts, failures }).toEqual({ starts: 1, failures: [] })
})
