import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createJobs } from '../../shared/jobs/jobs.ts'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'
import { createWindow } from '../../shared/jobs/window.ts'
import { eventually } from '../support/eventually.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import { testStore, type TestStore } from '../support/store.ts'

let store: TestStore
const closers: (() => unknown)[] = []
beforeEach(() => {
  store = testStore()
})
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
  await store.cleanup()
})

/** Stands before the run's Redis; while `isCut`, a request is passed on, and its connection dies instead of the reply. */
async function startProxy() {
  const target = new URL(store.url)
  const proxy = { isCut: false, cuts: 0, url: '' }
  const open = new Set<Socket>()
  const server = createServer((client) => {
    const redis = connect(Number(target.port), target.hostname)
    for (const socket of [client, redis]) {
      open.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => [client, redis].forEach((one) => one.destroy()))
    }
    client.on('data', (data) => redis.write(data))
    redis.on('data', (data) => {
      if (proxy.isCut) {
        proxy.isCut = false
        proxy.cuts += 1
        client.destroy()
      } else client.write(data)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  proxy.url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`
  return proxy
}

async function busy(): Promise<number> {
  return Number((await store.redis.hget(store.keys.busy, 'acme')) ?? 0)
}

test.for([null, { fingerprint: 'f', bodyHash: 'h' }])(
  'a submit that is sent twice makes one job and takes one place (idempotency key: %j)',
  async (idempotency) => {
    const input = store.jobInput({ idempotency })
    const first = await store.jobs.create(input)
    expect(await store.jobs.create(input)).toEqual({ ...first, used: { tenant: 0, customer: 0 } })
    expect(await busy()).toBe(1)
    const [fed] = store.queued
    if (!fed) throw new Error('nothing was queued')
    const result = await store.claims.claim(fed)
    expect(await store.jobs.create(input)).toEqual({ ...first, used: { tenant: 0, customer: 0 } })
    if (result.kind !== 'claimed') throw new Error(result.kind)
    expect(await store.redis.hget(store.keys.job(input.id), 'status')).toBe('in_progress')
    expect(await busy()).toBe(1)
    await store.settle.settle(result.claim.subject, 'complete', result.claim.token, 'completed', null, '')
    expect(await store.jobs.create(input)).toEqual({ ...first, used: { tenant: 0, customer: 0 } })
    expect(await busy()).toBe(0)
  },
)

test('a submit that waits in line and is sent twice stands there once', async () => {
  await store.window.beat('w1', 1, 10_000)
  await store.jobs.create(store.jobInput())
  const input = store.jobInput()
  await store.jobs.create(input)
  await store.jobs.create(input)
  for (let fed = store.queued.splice(0); fed.length > 0; fed = await store.window.feed()) {
    for (const job of fed) {
      const result = await store.claims.claim(job)
      if (result.kind !== 'claimed') throw new Error(result.kind)
      await store.settle.settle(result.claim.subject, 'claim', result.claim.token, 'failed', null, '')
    }
  }
  expect([await busy(), await store.redis.llen(store.keys.tenants)]).toEqual([0, 0])
})

test('a submit whose reply is cut off fails at once and is not sent again by the connection', async () => {
  const proxy = await startProxy()
  const redis = createRedis(proxy.url, 'commands', createLog('silent', 'test'))
  closers.push(() => redis.disconnect())
  const times = { resultRetentionMs: 86_400_000, idempotencyRetentionMs: 86_400_000 }
  const jobs = createJobs({ ...store, ...times, redis, log: createLog('silent', 'test') })
  await eventually('the connection stands', () => redis.status === 'ready')
  await redis.ping()
  proxy.isCut = true
  await expect(jobs.create(store.jobInput())).rejects.toThrow(/max retries per request/)
  await eventually('the connection stands again', async () => (await redis.ping()) === 'PONG')
  expect([proxy.cuts, await busy()]).toEqual([1, 1])
  expect(await store.redis.keys(`${store.keys.jobPrefix}*`)).toHaveLength(1)
})

test.for([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 3],
  [6, 5],
  [20, 17],
] as const)('of %i slots a tenant that is alone takes %i', async ([slots, taken]) => {
  await store.window.beat('w1', slots, 10_000)
  for (let count = 0; count < slots + 2; count += 1) await store.jobs.create(store.jobInput())
  expect(store.queued).toHaveLength(taken)
})

test.skipIf(!ownRedis().isPossible)(
  'a full Redis does not take the lease from the sweeper, nor leave it without one',
  async () => {
    const server = await startRedis()
    closers.push(() => server.stop())
    const redis = new Redis(server.url)
    closers.push(() => redis.disconnect())
    const window = createWindow(redis, store.keys)
    expect(await window.holdSweeper('w1', 5_000)).toBe(true)
    await redis.config('SET', 'maxmemory', '1')
    await expect(redis.set('a', 'b')).rejects.toThrow(/OOM/)
    expect([await window.holdSweeper('w1', 60_000), await window.holdSweeper('w2', 5_000)]).toEqual([
      true,
      false,
    ])
    expect(await redis.pttl(store.keys.sweeper)).toBeGreaterThan(5_000)
    await redis.del(store.keys.sweeper)
    expect(await window.holdSweeper('w2', 5_000)).toBe(true)
  },
)
