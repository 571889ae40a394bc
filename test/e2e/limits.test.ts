import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { eventually, gate, turnstile } from '../support/eventually.ts'
import { completion, type LedgerEntry } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import type { Job } from '../../shared/schemas/job.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'
import { endsWithoutWait, expectAfter, expectWithinLimit, startOf, startsOf } from '../support/windows.ts'

/** The "minute" of limits in this file. */
const MINUTE_MS = 4_000

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

async function allEnd(ids: readonly string[]): Promise<Job[]> {
  const jobs = await Promise.all(ids.map((id) => gateway.ended(id)))
  for (const job of jobs) expect(job).toMatchObject({ status: 'completed' })
  return jobs
}

/** Until the end of the test nobody does what a sweeper does at each tick: jobs that wait for a time are not woken. */
async function withoutSweeper(): Promise<void> {
  await gateway.redis.set(gateway.keys.sweeper, 'this test', 'PX', 600_000)
  onTestFinished(async () => void (await gateway.redis.del(gateway.keys.sweeper)))
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

test('max_parallel_requests holds over three workers, and a place that is given back is in use again at once', async () => {
  const [places, count] = [4, 28]
  const calls = turnstile()
  provider.answer(() => ({ ...completion('ok'), until: calls.pass() }))
  const ids = await submitMany(config({ max_parallel_requests: places }), count)
  await eventually('the others stand in line', async () => {
    const jobs = await Promise.all(ids.map((id) => gateway.job(id)))
    return jobs.filter(({ queue }) => queue.state === 'rate_limited').length >= count - 2 * places
  })
  // At once: nobody looks for places from time to time, each is handed over by whoever gives it back.
  await withoutSweeper()
  for (let ended = 0; ended < count; ended += 1) {
    await eventually('all places are in use', () => provider.open() === Math.min(places, count - ended))
    calls.letThrough(1)
  }
  await allEnd(ids)
  expect(provider.ledger).toHaveLength(count)
  expect(peak(provider.ledger)).toBe(places)
})

// How much of it is used while work waits is told where time can be held: in test/shared/deployment-limits.test.ts.
test('rpm is never exceeded, and each job that waits has a place of its own, which it takes', async () => {
  const rpm = 20
  const ids = await submitMany(config({ rpm }), 2 * rpm + 1)
  const places = new Map<string, number>()
  await eventually('those that do not fit wait for their places', async () => {
    for (const { id, queue } of await Promise.all(ids.map((one) => gateway.job(one))))
      if (queue.next_attempt_at !== null) places.set(id, queue.next_attempt_at * 1_000)
    return places.size > rpm
  })
  const jobs = await allEnd(ids)
  expect(provider.ledger).toHaveLength(2 * rpm + 1)
  expectWithinLimit(startsOf(jobs), rpm, MINUTE_MS)
  for (const job of jobs) expectAfter(startOf(job), places.get(job.id) ?? 0, 0)
})

test('otpm counts what was answered, itpm what was asked', async () => {
  for (const [limits, usage] of [
    [{ otpm: 100 }, { prompt_tokens: 1, completion_tokens: 50, total_tokens: 51 }],
    [{ itpm: 100 }, { prompt_tokens: 50, completion_tokens: 1, total_tokens: 51 }],
  ] as const) {
    provider.answer(() => completion('ok', usage))
    const limited = config(limits)
    const before = await usageLogs()
    const jobs: Job[] = []
    for (const total of [50, 100]) {
      jobs.push(...(await allEnd(await submitMany(limited, 1))))
      await eventually('what it used is noted', async () => (await used(limits, before)) >= total)
    }
    // Nobody knows how long its answer will be: it waits all the same.
    jobs.push(...(await allEnd(await submitMany(limited, 1))))
    expectWithinLimit(startsOf(jobs), 2, MINUTE_MS)
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
  const first = await allEnd(await submitMany(wide, 4))
  const [waits = ''] = await submitMany(narrow, 1)
  await eventually('it waits', async () => (await gateway.job(waits)).queue.state === 'rate_limited')
  const [fits = ''] = await submitMany(wide, 1)
  expect(await endsWithoutWait(gateway, fits)).toMatchObject({ status: 'completed' })
  // It fits when but one of the first four counts.
  const [waited] = await allEnd([waits])
  expectWithinLimit(startsOf([...first, ...(waited ? [waited] : [])]).slice(-3), 2, MINUTE_MS)
})

test('a provider that says that nothing is left is left alone until it says', async () => {
  provider.answer(({ number }) => {
    const headers = { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1.5s' }
    return number === 1 ? { ...completion('ok'), headers } : completion('ok')
  })
  const shared = config({})
  const [first] = await allEnd(await submitMany(shared, 1))
  await eventually('it is noted', async () => {
    const states = await gateway.redis.keys(`${gateway.prefix}:*:dep:*`)
    const rests = await Promise.all(states.map((state) => gateway.redis.hget(state, 'rests')))
    return rests.some(Boolean)
  })
  if (!first) throw new Error('no job')
  for (const job of await allEnd(await submitMany(shared, 2)))
    expectAfter(startOf(job), startOf(first), 1_500)
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
