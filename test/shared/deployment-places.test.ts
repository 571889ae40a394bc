import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeploymentState, Failure, Grant, Reservation } from '../../shared/routing/deployment-state.ts'
import type { PlanDeployment } from '../../shared/schemas/plan.ts'
import { createSettledListener } from '../../shared/jobs/settled.ts'
import { eventually } from '../support/eventually.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const LEASE_MS = 2_000
const LONG_MS = 60_000

let store: TestStore
const states: DeploymentState[] = []
beforeEach(() => {
  store = testStore({ leaseMs: LEASE_MS })
})
afterEach(async () => {
  for (const state of states.splice(0)) state.close()
  await store.cleanup()
})

/** One worker's view; `asked` are the jobs of others that it woke. None of them has ended, unless said so. */
function worker(change: { ended?: readonly string[]; now?: () => number } = {}) {
  const asked: string[] = []
  const wakeOthers = async (ids: readonly string[]) => {
    asked.push(...ids)
    return ids.filter((id) => change.ended?.includes(id))
  }
  const state = store.makeState({ wakeOthers, ...(change.now ? { now: change.now } : {}) })
  states.push(state)
  return Object.assign(state, { asked })
}

function reserve(
  state: DeploymentState,
  holder: string,
  deployments: PlanDeployment[],
  keepsPlace = true,
): Promise<Reservation> {
  const candidates = deployments.map((deployment) => ({ deployment, tier: 0 }))
  const tokens = { input: 0, output: 0 }
  return state.reserve(testPlan(deployments), candidates, {
    holder,
    tokens,
    slot: null,
    keepsPlace,
    ranking: null,
  })
}

async function granted(
  state: DeploymentState,
  holder: string,
  ...deployments: PlanDeployment[]
): Promise<Grant> {
  const got = await reserve(state, holder, deployments)
  if (got.kind !== 'go') throw new Error(`${holder} has to wait`)
  return got.grant
}

async function isWaiting(
  state: DeploymentState,
  holder: string,
  ...deployments: PlanDeployment[]
): Promise<boolean> {
  return (await reserve(state, holder, deployments)).kind === 'wait'
}

async function inFlight(one: PlanDeployment): Promise<number> {
  const [standing] = await store.state.read('owner', [one])
  return standing?.inFlight ?? -1
}

const TIMEOUT: Failure = {
  class: 'timeout', status: 408, isClientsMistake: false, retryAfterMs: null, isPossiblyBilled: true, groupSize: 1, strategy: null,
} // oxfmt-ignore
const SUCCESS = { usage: null, latencyMs: 1, restMs: null, strategy: null }
const never = new AbortController().signal

test('no more calls are in flight at once than allowed, over two workers that ask at the same time', async () => {
  const one = testDeployment('one', { max_parallel: 4 })
  const [a, b] = [worker(), worker()]
  const got = await Promise.all(
    Array.from({ length: 20 }, (_, index) => reserve(index % 2 ? a : b, `job${index}`, [one], false)),
  )
  expect(got.filter(({ kind }) => kind === 'go')).toHaveLength(4)
  expect(await inFlight(one)).toBe(4)
})

test('a success, a failure and a grant that came to nothing each give their place back at once', async () => {
  const one = testDeployment('one', { max_parallel: 1, allowed_fails: 100 })
  const plan = testPlan([one])
  const a = worker()
  const first = await granted(a, 'job1', one)
  expect(first.holder).toBe('job1')
  void a.succeed(plan, first, SUCCESS)
  // The first time the script is not known to Redis yet.
  const second = await eventually('it came back', () => granted(a, 'job2', one).catch(() => null))
  void a.fail(plan, second, TIMEOUT)
  const third = await granted(a, 'job3', one)
  await a.release(plan, third)
  await a.release(plan, third)
  await granted(a, 'job4', one)
})

test('a place is handed to the first in line, who waits in another worker, and nobody takes it meanwhile', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const a = worker()
  const b = worker()
  const grant = await granted(a, 'job1', one)
  const wait = await reserve(b, 'job2', [one])
  expect(wait).toMatchObject({ kind: 'wait', why: 'busy', isNext: true })
  expect(await reserve(b, 'job3', [one])).toMatchObject({ kind: 'wait', why: 'busy', isNext: false })
  await a.release(testPlan([one]), grant)
  await eventually('the first in line is told', () => a.asked.length > 0)
  expect(a.asked[0]).toBe('job2')
  expect(await isWaiting(a, 'newcomer', one)).toBe(true)
  await granted(b, 'job2', one)
})

test('who becomes next is called up before its turn, once, so that it stands ready; the others sleep on', async () => {
  const one = testDeployment('one', { max_parallel: 2 })
  const a = worker()
  const b = worker()
  const first = await granted(a, 'job1', one)
  const second = await granted(a, 'job2', one)
  for (let number = 3; number <= 8; number++) expect(await isWaiting(b, `job${number}`, one)).toBe(true)
  await a.release(testPlan([one]), first)
  await eventually('the next is called up', () => a.asked.length === 2)
  expect(a.asked.toSorted()).toEqual(['job3', 'job5'])
  expect(await reserve(b, 'job5', [one])).toMatchObject({ kind: 'wait', isNext: true })
  expect(await reserve(b, 'job6', [one])).toMatchObject({ kind: 'wait', isNext: false })
  await a.release(testPlan([one]), second)
  await eventually('the next one is', () => a.asked.length === 4)
  expect(a.asked.slice(2).toSorted()).toEqual(['job4', 'job6'])
})

test('a word for one far back in line is kept while it is on its way to be parked', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const a = worker()
  await granted(a, 'job1', one)
  expect(await reserve(a, 'job2', [one])).toMatchObject({ isNext: true })
  expect(await reserve(a, 'job3', [one])).toMatchObject({ isNext: false })
  a.wake('job3')
  await a.noteParked('job3')
  expect(a.asked).toEqual(['job3'])
})

test('a real job that waits in place in another worker goes on as soon as a place is handed to it', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const created = await store.jobs.create(store.jobInput())
  const [fed] = store.queued
  if (!fed || created.kind !== 'created') throw new Error('the job was not stored')
  await store.claims.claim(fed)
  const subscriber = store.redis.duplicate()
  const listener = createSettledListener(subscriber, store.keys)
  const b = worker()
  listener.onWake(b.wake)
  await listener.start()
  const a = store.makeState()
  states.push(a)
  const grant = await granted(a, 'job1', one)
  expect(await isWaiting(b, fed.id, one)).toBe(true)
  const turn = b.waitTurn(fed.id, LONG_MS, never)
  await a.release(testPlan([one]), grant)
  await turn
  await granted(b, fed.id, one)
  listener.close()
  subscriber.disconnect()
})

test('whoever waits in place hears of it from the step that frees the place, before its worker has passed it on', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const subscriber = store.redis.duplicate()
  const listener = createSettledListener(subscriber, store.keys)
  const b = worker()
  listener.onWake(b.wake)
  await listener.start()
  // Passes nothing on.
  const a = worker()
  const grant = await granted(a, 'job1', one)
  expect(await isWaiting(b, 'job2', one)).toBe(true)
  const turn = b.waitTurn('job2', LONG_MS, never)
  await a.release(testPlan([one]), grant)
  await turn
  await granted(b, 'job2', one)
  listener.close()
  subscriber.disconnect()
})

test('a place is handed within one worker, also when the word comes before its job waits for it', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const a = worker()
  const grant = await granted(a, 'job1', one)
  expect(await isWaiting(a, 'job2', one)).toBe(true)
  await a.release(testPlan([one]), grant)
  await eventually('the word came', () => a.asked.includes('job2'))
  await a.waitTurn('job2', LONG_MS, never)
  const second = await granted(a, 'job2', one)
  expect(await isWaiting(a, 'job3', one)).toBe(true)
  const turn = a.waitTurn('job3', LONG_MS, never)
  await a.release(testPlan([one]), second)
  await turn
  await granted(a, 'job3', one)
  expect(a.asked).toEqual(['job2'])
})

test('waiting for a turn ends with its time, and with the job', async () => {
  const a = worker()
  await a.waitTurn('job1', 10, never)
  const stop = new AbortController()
  const turn = a.waitTurn('job1', LONG_MS, stop.signal)
  stop.abort()
  await turn
  await a.waitTurn('job1', LONG_MS, stop.signal)
})

test('a place handed to a job that has ended is handed on, until one takes it', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const a = worker({ ended: ['job2', 'job3'] })
  const b = worker()
  const grant = await granted(a, 'job1', one)
  for (const holder of ['job2', 'job3', 'job4']) expect(await isWaiting(b, holder, one)).toBe(true)
  await a.release(testPlan([one]), grant)
  await eventually('it came to the third', () => a.asked.includes('job4'))
  expect([...new Set(a.asked)]).toEqual(['job2', 'job3', 'job4'])
  await granted(b, 'job4', one)
})

test('the places of a worker that was killed come back when their leases run out, and its line moves', async () => {
  const one = testDeployment('one', { max_parallel: 2 })
  const dead = worker()
  await granted(dead, 'job1', one)
  await granted(dead, 'job2', one)
  const b = worker()
  const first = await reserve(b, 'job3', [one])
  if (first.kind !== 'wait') throw new Error('the limit does not hold')
  expect(first.at - first.now).toBeLessThanOrEqual(LEASE_MS)
  await reserve(b, 'job4', [one])
  // Whoever comes first, the places are those of the first in line.
  const c = worker()
  await eventually('the line moves', async () => {
    await reserve(c, 'newcomer', [one], false)
    return c.asked.length === 2
  }) // oxfmt-ignore
  expect(c.asked).toEqual(['job3', 'job4'])
  await granted(b, 'job3', one)
})

test('a worker keeps the places of calls that last longer than a lease', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const a = worker()
  a.start()
  const grant = await granted(a, 'job1', one)
  const until = performance.now() + 2 * LEASE_MS
  await eventually('two leases went by', async () => {
    expect(await isWaiting(a, 'job2', one)).toBe(true)
    return performance.now() > until
  })
  await a.release(testPlan([one]), grant)
  await eventually('its place came back', async () => !(await isWaiting(a, 'job2', one)))
})

test('jobs wait in the order in which they came, and are told when to look again: those who are next sooner', async () => {
  const one = testDeployment('one', { max_parallel: 2 })
  const a = worker({ now: () => 1_800_000_000_000 })
  await granted(a, 'job1', one)
  await granted(a, 'job2', one)
  const waits: Reservation[] = []
  for (let index = 0; index < 6; index++) waits.push(await reserve(a, `wait${index}`, [one]))
  const [first, , third] = await Promise.all([0, 1, 2].map((index) => reserve(a, `wait${index}`, [one])))
  expect(waits.map((wait) => wait.kind === 'wait' && wait.isNext)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ])
  expect([first, third]).toMatchObject([{ isNext: true }, { isNext: false }])
  const times = waits.map((wait) => (wait.kind === 'wait' ? wait.at - wait.now : 0))
  expect(times.toSorted((x, y) => x - y)).toEqual(times)
})

test("a job that goes elsewhere leaves the line, and a place that was handed to it meanwhile is the next one's", async () => {
  const full = testDeployment('full', { max_parallel: 1 })
  const other = testDeployment('other', { max_parallel: 1 })
  const a = worker()
  const grant = await granted(a, 'job1', full)
  const elsewhere = await granted(a, 'job2', other)
  for (const holder of ['job3', 'job4', 'job5']) expect(await isWaiting(a, holder, full)).toBe(true)
  await a.release(testPlan([full]), grant)
  await a.release(testPlan([other]), elsewhere)
  // job3 holds a place at `full` now, but prefers `other`.
  expect((await granted(a, 'job3', other, full)).deployment.id).toBe('other')
  await granted(a, 'job4', full)
  // Nothing is left of it in the line.
  const third = await reserve(a, 'job5', [full])
  expect(third).toMatchObject({ kind: 'wait', isNext: true })
})

test('a job that stands in a line and is served elsewhere stands there no longer', async () => {
  const full = testDeployment('full', { max_parallel: 1 })
  const other = testDeployment('other')
  const a = worker()
  const grant = await granted(a, 'job1', full)
  for (const holder of ['job2', 'job3']) expect(await isWaiting(a, holder, full)).toBe(true)
  await granted(a, 'job2', full, other)
  await a.release(testPlan([full]), grant)
  await eventually('the place was handed over', () => a.asked.length > 0)
  expect(a.asked).toEqual(['job3'])
})

test("each job's own limit is held against all calls, also those of configs without a limit", async () => {
  const narrow = testDeployment('one', { max_parallel: 1 })
  const wide = testDeployment('one', { max_parallel: 3 })
  const free = testDeployment('one')
  const a = worker()
  const first = await granted(a, 'job1', narrow)
  const second = await granted(a, 'job2', free)
  expect(second.holder).toBe('job2')
  await granted(a, 'job3', wide)
  expect(await isWaiting(a, 'job4', wide)).toBe(true)
  expect(await isWaiting(a, 'job5', narrow)).toBe(true)
  await granted(a, 'job6', free)
  await a.release(testPlan([narrow]), first)
  await a.release(testPlan([free]), second)
  await granted(a, 'job4', wide)
  expect(await isWaiting(a, 'job5', narrow)).toBe(true)
})

test('a job that holds a place takes it once, however often it asks', async () => {
  const one = testDeployment('one', { max_parallel: 1 })
  const a = worker()
  await granted(a, 'job1', one)
  await Promise.all([granted(a, 'job1', one), granted(a, 'job1', one)])
  expect(await inFlight(one)).toBe(1)
})

test('a place that was handed over is free again when its job waits for something else', async () => {
  const one = testDeployment('one', { max_parallel: 1, allowed_fails: 0, cooldown_time_s: 30 })
  const a = worker()
  const grant = await granted(a, 'job1', one)
  expect(await isWaiting(a, 'job2', one)).toBe(true)
  await a.fail(testPlan([one]), grant, TIMEOUT)
  expect(await reserve(a, 'job2', [one])).toMatchObject({ kind: 'wait', why: 'cooldown' })
  await eventually('nobody holds it', async () => (await inFlight(one)) === 0)
})
