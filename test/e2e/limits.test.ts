import { monitorEventLoopDelay } from 'node:perf_hooks'
import { beforeAll, expect, test } from 'vitest'
import { eventually, gate } from '../support/eventually.ts'
import { completion, type LedgerEntry } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

/**
 * The "minute" of limits in this file. The window of limits is a hundredth longer: that is for the way to the provider, where a
 * call may take tens of milliseconds when the machine has other things to do.
 */
const MINUTE_MS = 4_000
/** A machine with other things to do takes its time. */
const TIMEOUT_MS = 90_000

useGateway({
  workers: 3,
  env: { GATEWAY_LIMIT_WINDOW_MS: String(MINUTE_MS), GATEWAY_RETRY_INITIAL_MS: '20' },
})

// A process's first calls take longer, for what it has to load: what is measured comes after them.
beforeAll(async () => {
  for (const limits of [{ rpm: 1_000 }, { max_parallel_requests: 4 }])
    await allEnd(await submitMany(config(limits), 24))
})

const config = (params: Record<string, unknown>, key = freshKey()) =>
  ownConfig({ url: provider.url, key, ...params })

async function submitMany(userConfig: object, count: number): Promise<string[]> {
  const jobs = await Promise.all(Array.from({ length: count }, () => gateway.submit(ask(userConfig))))
  return jobs.map(({ id }) => id)
}

async function allEnd(ids: readonly string[]): Promise<void> {
  for (const id of ids)
    expect(await gateway.ended(id, { timeoutMs: 30_000 })).toMatchObject({ status: 'completed' })
}

/** The most calls that were open at one moment. */
function peak(entries: readonly LedgerEntry[]): number {
  const moments = entries.flatMap(({ startedAt, endedAt }) => [
    { at: startedAt, change: 1 },
    { at: endedAt ?? Number.POSITIVE_INFINITY, change: -1 },
  ])
  // A call that ends at the moment another starts is not open beside it.
  const sorted = moments.toSorted((a, b) => a.at - b.at || a.change - b.change)
  let open = 0
  return Math.max(...sorted.map(({ change }) => (open += change)))
}

test(
  'max_parallel_requests holds over three workers, and its places are in use 95% of the time while work waits',
  { timeout: TIMEOUT_MS, retry: 2 },
  async () => {
    // What a place costs to hand over is this machine's time, which other tests take from it as well.
    const [callMs, places, jobs] = [800, 4, 28]
    provider.answer(() => ({ ...completion('ok'), delayMs: callMs }))
    await allEnd(await submitMany(config({ max_parallel_requests: places }), jobs))
    expect(provider.ledger).toHaveLength(jobs)
    expect(peak(provider.ledger)).toBe(places)
    // From the first call until nothing waits any more: the last call has begun.
    const begin = Math.min(...provider.ledger.map(({ startedAt }) => startedAt))
    const end = Math.max(...provider.ledger.map(({ startedAt }) => startedAt))
    const busyMs = provider.ledger.reduce(
      (sum, { startedAt, endedAt }) => sum + Math.max(0, Math.min(endedAt ?? end, end) - startedAt),
      0,
    )
    expect(busyMs / (places * (end - begin))).toBeGreaterThan(0.95)
  },
)

test('rpm is used to 95% while work waits, and never exceeded', { timeout: TIMEOUT_MS }, async () => {
  const rpm = 20
  // The ledger's clock is this process's: it notes a call as late as other things held it up.
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  await allEnd(await submitMany(config({ rpm }), 2 * rpm + 1))
  const lateMs = delay.max / 1e6
  const at = provider.ledger.map(({ startedAt }) => startedAt).toSorted((a, b) => a - b)
  for (let index = rpm; index < at.length; index += 1)
    expect((at[index] ?? 0) - (at[index - rpm] ?? 0)).toBeGreaterThan(MINUTE_MS - 50 - lateMs)
  const lasted = (at[2 * rpm] ?? 0) - (at[0] ?? 0)
  expect(lasted).toBeLessThan((2 * MINUTE_MS) / 0.95 + lateMs)
})

test('otpm counts what was answered, itpm what was asked', { timeout: TIMEOUT_MS }, async () => {
  for (const [limits, usage] of [
    [{ otpm: 100 }, { prompt_tokens: 1, completion_tokens: 50, total_tokens: 51 }],
    [{ itpm: 100 }, { prompt_tokens: 50, completion_tokens: 1, total_tokens: 51 }],
  ] as const) {
    provider.ledger.length = 0
    provider.answer(() => completion('ok', usage))
    const limited = config(limits)
    const before = await usageLogs()
    for (const total of [50, 100]) {
      await allEnd(await submitMany(limited, 1))
      await eventually('what it used is noted', async () => (await used(limits, before)) >= total)
    }
    // Nobody knows how long its answer will be: it waits all the same.
    await allEnd(await submitMany(limited, 1))
    const [first, , third] = provider.ledger
    expect((third?.startedAt ?? 0) - (first?.startedAt ?? 0)).toBeGreaterThan(MINUTE_MS - 100)
  }
})

const usageLogs = () => gateway.redis.keys(`${gateway.prefix}:*:use:*`)

/** Output or input tokens in the usage log that was not there before. */
async function used(limits: object, before: readonly string[]): Promise<number> {
  const logs = (await usageLogs()).filter((log) => !before.includes(log))
  const sums = await Promise.all(
    logs.map(async (log) => {
      const parts = await gateway.redis.hvals(log)
      return parts.reduce((sum, part) => sum + Number(part.split(' ')['otpm' in limits ? 2 : 1]), 0)
    }),
  )
  return Math.max(0, ...sums)
}

test('two configs with one key: each holds its own limit against the usage of both', async () => {
  const key = freshKey('both')
  const [wide, narrow] = [config({ rpm: 6 }, key), config({ rpm: 2 }, key)]
  await allEnd(await submitMany(wide, 4))
  const startedAt = provider.ledger[0]?.startedAt ?? 0
  const [waits = ''] = await submitMany(narrow, 1)
  await eventually('it waits', async () => (await gateway.job(waits)).queue.state === 'rate_limited')
  await allEnd(await submitMany(wide, 1))
  expect(performance.now() - startedAt).toBeLessThan(MINUTE_MS - 100)
  await allEnd([waits])
  expect((provider.ledger.at(-1)?.startedAt ?? 0) - startedAt).toBeGreaterThan(MINUTE_MS - 50)
})

test('a provider that says that nothing is left is left alone until it says', async () => {
  provider.answer(({ number }) => {
    const headers = { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1.5s' }
    return number === 1 ? { ...completion('ok'), headers } : completion('ok')
  })
  const shared = config({})
  await allEnd(await submitMany(shared, 1))
  await eventually('it is noted', async () => {
    const states = await gateway.redis.keys(`${gateway.prefix}:*:dep:*`)
    const rests = await Promise.all(states.map((state) => gateway.redis.hget(state, 'rests')))
    return rests.some(Boolean)
  })
  await allEnd(await submitMany(shared, 2))
  const [first, second] = provider.ledger
  expect((second?.startedAt ?? 0) - (first?.startedAt ?? 0)).toBeGreaterThan(1_450)
})

test('the places of killed workers come back, to those who wait in line', async () => {
  const held = gate()
  provider.answer(() => ({ ...completion('ok'), until: held.opened }))
  const shared = config({ max_parallel_requests: 2 })
  const ids = await submitMany(shared, 5)
  await eventually('two are called', () => provider.open() === 2)
  await eventually('the others stand in line', async () => {
    const all = await Promise.all(ids.map((id) => gateway.job(id)))
    return all.filter(({ queue }) => queue.state === 'rate_limited').length >= 3
  })
  for (const worker of gateway.workers) worker.kill('SIGKILL')
  await eventually('their calls are gone', () => provider.open() === 0)
  await gateway.addWorker()
  await eventually('two are called again', () => provider.open() === 2)
  held.open()
  await allEnd(ids)
  expect(peak(provider.ledger)).toBe(2)
})
