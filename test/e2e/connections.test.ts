import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { JOBS_QUEUE } from '../../shared/jobs/queues.ts'
import { eventually, gate } from '../support/eventually.ts'
import { createFaultProxy, type FaultProxy } from '../support/fault-proxy.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { openRedis } from '../support/topology.ts'

// The full form: TEST_RESETS=1000 TEST_HOLE_MS=45000
const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)
const RESETS = Number(process.env['TEST_RESETS'] ?? 60)
const HOLE_MS = Number(process.env['TEST_HOLE_MS'] ?? 5_000)
const isFull = HOLE_MS > 10_000
/** What a stall may take at most. */
const STALL_MS_MAX = 30_000

let redis: RedisProcess
/** Past the proxy. */
let direct: ReturnType<typeof openRedis>
let proxy: FaultProxy
let provider: TestProvider
let gateway: Gateway
let config: object

beforeAll(async () => {
  if (!isPossible) return
  redis = await startRedis()
  direct = openRedis(redis.url)
  proxy = await createFaultProxy(redis.url)
  provider = await startProvider()
  const env = {
    WORKER_CONCURRENCY: '4',
    GATEWAY_STALL_MS: '4000',
    ...(isFull ? {} : { GATEWAY_REDIS_SILENCE_MS: '3000', GATEWAY_REDIS_TIMEOUT_MS: '900' }),
  }
  gateway = await startGateway({ redisUrl: proxy.url, env })
  config = ownConfig({ url: provider.url, key: 'sk-own' }, { num_retries: 0, allowed_fails: 1_000 })
})
afterAll(async () => {
  await gateway?.stop()
  await provider?.close()
  await proxy?.close()
  direct?.disconnect()
  await redis?.stop()
})
beforeEach(() => {
  if (isPossible) provider.ledger.length = 0
})

let submits = 0
/** So many jobs, each once, whatever becomes of a connection meanwhile. */
const submitted = (count: number) =>
  Promise.all(
    Array.from({ length: count }, () => {
      const once = { idempotency_key: `submit-${(submits += 1)}` }
      return eventually('it is accepted', () => gateway.submit(ask(config), once))
    }),
  )

const ready = async () => {
  const response = await fetch(`${gateway.url}/readyz`)
  return { status: response.status, body: (await response.json()) as { reasons?: string[] } }
}

/** The longest time that went by without a call. */
function longestGapMs(): number {
  const times = provider.ledger.map(({ startedAt }) => startedAt)
  return Math.max(0, ...times.slice(1).map((at, index) => at - (times[index] ?? at)))
}

/** Numbers from 0 to 1, the same in each run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

test.skipIf(!isPossible)(
  'connections that are reset at random while jobs wait, and none is added, hold up nothing for long; each call is known',
  { timeout: 60_000 + RESETS * 400 },
  async () => {
    const { opened: begun, open: begin } = gate()
    const random = seeded(7)
    let isBegun = false
    provider.answer(async () => {
      await begun
      // At any moment of the call, and of what comes before and after it.
      if (isBegun) setTimeout(() => proxy.resetRandom(random), 100 * random())
      return { ...completion('ok'), delayMs: 50 }
    })
    const jobs = await submitted(RESETS)
    isBegun = true
    begin()
    await eventually('all are called', () => provider.ledger.length >= RESETS, {
      timeoutMs: 30_000 + RESETS * 300,
    })
    let calls = 0
    for (const { id } of jobs) {
      const job = await eventually('it ends', () => gateway.ended(id), { timeoutMs: STALL_MS_MAX })
      expect(job.status).toBe('completed')
      calls += job.attempts_made
    }
    expect(proxy.resets()).toBeGreaterThan(RESETS * 0.8)
    expect(longestGapMs()).toBeLessThan(STALL_MS_MAX)
    expect(provider.ledger).toHaveLength(calls)
  },
)

test.skipIf(!isPossible)(
  'after the network swallowed all that was said for a while, and forgot its connections, work goes on within 30 seconds',
  { timeout: 120_000 + HOLE_MS },
  async () => {
    provider.answer(() => ({ ...completion('ok'), delayMs: 200 }))
    const jobs = await submitted(60)
    await eventually('calls are made', () => provider.ledger.length > 4)
    proxy.blackHole(true)
    const holeAt = performance.now()
    await eventually('it says why it is not ready', async () => {
      const { status, body } = await ready()
      return status === 503 && body.reasons?.join() === 'redis_unreachable'
    })
    await eventually('time passes', () => performance.now() - holeAt > HOLE_MS, { timeoutMs: 2 * HOLE_MS })
    proxy.blackHole(false)
    const before = provider.ledger.length
    await eventually('calls are made again', () => provider.ledger.length > before, {
      timeoutMs: STALL_MS_MAX,
    })
    for (const { id } of jobs) {
      const job = await eventually('it ends', () => gateway.ended(id), { timeoutMs: STALL_MS_MAX })
      expect(job.status).toBe('completed')
    }
    expect((await ready()).status).toBe(200)
  },
)

test.skipIf(!isPossible)(
  'a Redis that loses all it had under load gets nothing of it back, and what comes next is done',
  async () => {
    const { opened: answered, open: answer } = gate()
    provider.answer(async () => {
      await answered
      return completion('ok')
    })
    const jobs = await submitted(20)
    await eventually('calls are under way', () => provider.ledger.length >= 2)
    const { keys } = gateway
    // First what has a TTL, as when it is evicted.
    for (const lock of await direct.keys(`${keys.queuePrefix}:*:lock`)) await direct.del(lock)
    await direct.del(keys.sweeper)
    await direct.flushall()
    answer()
    const next = await eventually('a job is accepted', () => gateway.submit(ask(config)))
    expect(await gateway.ended(next.id, { timeoutMs: 60_000 })).toMatchObject({ status: 'completed' })
    await eventually('the API is ready', async () => (await ready()).status === 200)
    const names = await direct.keys(`${keys.queuePrefix}:*`)
    expect(names.filter((name) => jobs.some(({ id }) => name.includes(id)))).toEqual([])
    for (const { id } of jobs.slice(0, 5))
      expect((await gateway.call('GET', `/v1/jobs/${id}`)).status).toBe(410)
  },
)

test.skipIf(!isPossible)(
  'a worker whose queue can not be mended ends with a failure; the API says that work does not get ahead until it does',
  async () => {
    provider.answer(() => completion('ok'))
    const [worker] = gateway.workers
    await direct.set(gateway.keys.queueWaiting(JOBS_QUEUE), 'no list')
    const ended = worker?.ended()
    // Its own entry can't be added either: it waits for the sweeper.
    const [job] = await submitted(1)
    expect(await ended).toBe(1)
    expect(worker?.output()).toContain('its queue jobs stands still')
    await eventually('it says why it is not ready', async () => {
      const { status, body } = await ready()
      return status === 503 && body.reasons?.join() === 'queues_unreadable'
    })
    await direct.del(gateway.keys.queueWaiting(JOBS_QUEUE))
    await eventually(
      'it says that no worker is there',
      async () => (await ready()).body.reasons?.join() === 'no_workers',
    )
    await gateway.mend()
    expect(await gateway.ended(job?.id ?? '')).toMatchObject({ status: 'completed' })
    await eventually('the API is ready', async () => (await ready()).status === 200)
  },
)
