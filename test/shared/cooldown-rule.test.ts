import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeploymentState, Failure, Grant } from '../../shared/routing/deployment-state.ts'
import type { Plan, PlanDeployment } from '../../shared/schemas/plan.ts'
import { eventually } from '../support/eventually.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

let store: TestStore
let now = 0
let state: DeploymentState
beforeEach(() => {
  store = testStore()
  now = 1_800_000_000_000
  state = store.makeState({ now: () => now })
})
afterEach(() => store.cleanup())

function reserve(deployment: PlanDeployment, by = state, keepsPlace = false) {
  const request = { holder: 'job', tokens: { input: 0, output: 0 }, slot: null, keepsPlace, ranking: null }
  return by.reserve(testPlan([deployment]), [{ deployment, tier: 0 }], request)
}

async function isCooling(deployment: PlanDeployment): Promise<boolean> {
  return (await reserve(deployment)).kind === 'wait'
}

function grantOf(deployment: PlanDeployment): Grant {
  return { deployment, bookedAt: 0, isProbe: false, tokens: { input: 0, output: 0 }, holder: null }
}

function fail(plan: Plan, deployment: PlanDeployment, change: Partial<Failure>) {
  const failure: Failure = {
    class: 'internal_server',
    status: 500,
    isClientsMistake: false,
    retryAfterMs: null,
    isPossiblyBilled: false,
    groupSize: 2,
    strategy: null,
    ...change,
  }
  return state.fail(plan, grantOf(deployment), failure)
}

const TIMEOUT = { class: 'timeout', status: 408 } as const
const BAD_REQUEST = { class: 'bad_request', status: 400, isClientsMistake: true } as const

test('a class with a count of its own is counted apart from the others', async () => {
  const one = testDeployment('one')
  const plan = testPlan([one], { allowed_fails: 1, allowed_fails_policy: { timeout: 2 } })
  await fail(plan, one, {})
  for (let count = 0; count < 2; count++) await fail(plan, one, TIMEOUT)
  expect(await isCooling(one)).toBe(false)
  await fail(plan, one, TIMEOUT)
  expect(await isCooling(one)).toBe(true)
})

test('a count of 0 means that the first failure of the class cools', async () => {
  const one = testDeployment('one')
  const plan = testPlan([one], { allowed_fails: 100, allowed_fails_policy: { timeout: 0 } })
  await fail(plan, one, {})
  expect(await isCooling(one)).toBe(false)
  await fail(plan, one, TIMEOUT)
  expect(await isCooling(one)).toBe(true)
})

test("the deployment's entry goes before the config's, and a config's entry before the deployment's allowed_fails", async () => {
  const one = testDeployment('one', { allowed_fails_policy: { timeout: 5 }, allowed_fails: 0 })
  const two = testDeployment('two', { allowed_fails: 0 })
  const plan = testPlan([one, two], { allowed_fails_policy: { timeout: 1 } })
  for (let count = 0; count < 5; count++) await fail(plan, one, TIMEOUT)
  expect(await isCooling(one)).toBe(false)
  await fail(plan, two, TIMEOUT)
  expect(await isCooling(two)).toBe(false)
  await fail(plan, two, TIMEOUT)
  expect(await isCooling(two)).toBe(true)
  await fail(plan, one, {})
  expect(await isCooling(one)).toBe(true)
})

test('a 429, 401 or 404 cools at once only where nothing is counted for its class', async () => {
  const deployments = ['a', 'b', 'c', 'd'].map((id) => testDeployment(id))
  const [a, b, c, d] = deployments as [PlanDeployment, PlanDeployment, PlanDeployment, PlanDeployment] // four of them
  const plan = testPlan(deployments)
  await fail(plan, a, { class: 'not_found', status: 404 })
  await fail(plan, b, { class: 'authentication', status: 401 })
  expect([await isCooling(a), await isCooling(b)]).toEqual([true, true])
  const counting = testPlan(deployments, { allowed_fails_policy: { not_found: 1 } })
  await fail(counting, c, { class: 'not_found', status: 404 })
  expect(await isCooling(c)).toBe(false)
  await fail(counting, d, { class: 'authentication', status: 401 })
  expect(await isCooling(d)).toBe(true)
})

test("a client's mistakes cool a deployment whose own policy counts them, but never the operator's", async () => {
  const own = testDeployment('own', { allowed_fails_policy: { bad_request: 1 } })
  const operators = testDeployment('operators', { ...own, id: 'operators', owner_id: 'operator' })
  const plan = testPlan([own, operators], {
    allowed_fails_policy: { bad_request: 0, content_policy_violation: 0 },
  })
  const bare = testDeployment('bare')
  for (let count = 0; count < 2; count++) {
    for (const deployment of [own, operators, bare]) await fail(plan, deployment, BAD_REQUEST)
  }
  expect(await isCooling(own)).toBe(true)
  expect(await isCooling(operators)).toBe(false)
  expect(await isCooling(bare)).toBe(false)
})

test('a cooldown_time of 0 and disabled cooldowns hold for counts by class too', async () => {
  const one = testDeployment('one', { cooldown_time_s: 0 })
  const two = testDeployment('two')
  const policy = { allowed_fails_policy: { timeout: 0 } }
  await fail(testPlan([one], policy), one, TIMEOUT)
  await fail(testPlan([two], { ...policy, disable_cooldowns: true }), two, TIMEOUT)
  expect([await isCooling(one), await isCooling(two)]).toEqual([false, false])
})

test('an error that is a rate limit by its code pauses the key, whatever its status', async () => {
  const one = testDeployment('one', { key_id: 'shared' })
  const twin = testDeployment('twin', { key_id: 'shared' })
  await fail(testPlan([one]), one, { class: 'rate_limit', status: 503, retryAfterMs: 4_000, groupSize: 1 })
  const wait = await reserve(twin)
  expect(wait.kind === 'wait' && wait.at - wait.now).toBe(4_000)
})

test('counts of a class start anew after a window, and after a probe that succeeded', async () => {
  const one = testDeployment('one', { cooldown_time_s: 1 })
  const plan = testPlan([one], { allowed_fails_policy: { timeout: 1 } })
  await fail(plan, one, TIMEOUT)
  now += 60_001
  await fail(plan, one, TIMEOUT)
  expect(await isCooling(one)).toBe(false)
  await fail(plan, one, TIMEOUT)
  now += 1_001
  const probe = await reserve(one)
  if (probe.kind !== 'go') throw new Error('the cooldown should be over')
  expect(probe.grant.isProbe).toBe(true)
  await state.succeed(plan, probe.grant, { usage: null, latencyMs: 1, restMs: null, strategy: null })
  await fail(plan, one, TIMEOUT)
  expect(await isCooling(one)).toBe(false)
})

test('eight workers and one 429: nobody calls before the pause is over, and then one probes', async () => {
  const one = testDeployment('one')
  const workers = Array.from({ length: 8 }, () => store.makeState())
  const plan = testPlan([one])
  const [first = state] = workers
  const failure: Failure = {
    class: 'rate_limit', status: 429, isClientsMistake: false, retryAfterMs: 1_000, isPossiblyBilled: false, groupSize: 1, strategy: null,
  } // oxfmt-ignore
  const before = Date.now()
  await first.fail(plan, grantOf(one), failure)
  const [standing] = await first.read('owner', [one])
  const until = standing?.pausedUntil ?? 0
  expect(until - before).toBeGreaterThanOrEqual(1_000)
  const grants: { at: number; isProbe: boolean }[] = []
  await eventually('one is let through', async () => {
    const got = await Promise.all(workers.map((by) => reserve(one, by)))
    for (const each of got) {
      if (each.kind === 'go') grants.push({ at: Date.now(), isProbe: each.grant.isProbe })
      else expect(each.at).toBeGreaterThanOrEqual(until)
    }
    return grants.length > 0
  }) // oxfmt-ignore
  expect(grants).toMatchObject([{ isProbe: true }])
  expect(grants[0]?.at).toBeGreaterThanOrEqual(until)
})

test('a deployment whose provider has nothing left rests until then, without a probe, and never shorter', async () => {
  const one = testDeployment('one')
  const plan = testPlan([one])
  const rest = (restMs: number) =>
    state.succeed(plan, grantOf(one), { usage: null, latencyMs: 1, restMs, strategy: null })
  await rest(5_000)
  await rest(2_000)
  const waits = [await reserve(one, state, true), await reserve(one, state, true)]
  expect(waits).toMatchObject([
    { kind: 'wait', why: 'limit', at: now + 5_000 },
    { kind: 'wait', why: 'limit', at: now + 5_010 },
  ])
  const [standing] = await state.read('owner', [one])
  expect(standing).toMatchObject({ restsUntil: now + 5_000, coolingUntil: null, pausedUntil: null })
  now += 5_000
  for (let count = 0; count < 3; count++) {
    const got = await reserve(one)
    expect(got.kind === 'go' && got.grant.isProbe).toBe(false)
    expect(got.kind).toBe('go')
  }
})

test('a place kept for after a rest counts under the limit, and is used once', async () => {
  const one = testDeployment('one', { rpm: 2 })
  const plan = testPlan([one])
  await state.succeed(plan, grantOf(one), { usage: null, latencyMs: 1, restMs: 5_000, strategy: null })
  const waits = [
    await reserve(one, state, true),
    await reserve(one, state, true),
    await reserve(one, state, true),
  ]
  const times = waits.map((wait) => (wait.kind === 'wait' ? wait.at - now : 0))
  expect(times.slice(0, 2)).toEqual([5_000, 5_010])
  expect(times[2]).toBeGreaterThan(65_000)
  now += 5_010
  expect(await isCooling(one)).toBe(true)
  const slot = { id: 'one', at: now }
  const request = { holder: 'job', tokens: { input: 0, output: 0 }, slot, keepsPlace: true, ranking: null }
  expect((await state.reserve(plan, [{ deployment: one, tier: 0 }], request)).kind).toBe('go')
})
