import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Failure, Grant, Success } from '../../shared/routing/deployment-state.ts'
import type { Plan, PlanDeployment } from '../../shared/schemas/plan.ts'
import { createScript } from '../../shared/scripts.ts'
import { eventually } from '../support/eventually.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const WINDOW_MS = 600
let store: TestStore
beforeEach(() => {
  store = testStore({ windowMs: WINDOW_MS })
})
afterEach(() => store.cleanup())

type Slot = { id: string; at: number }

function reserve(
  deployments: PlanDeployment[],
  change: { tokens?: number; slot?: Slot; keepsPlace?: boolean } = {},
) {
  const { tokens: input = 0, slot = null, keepsPlace = false } = change
  const candidates = deployments.map((deployment) => ({ deployment, tier: 0 }))
  const request = { holder: 'job', tokens: { input, output: 0 }, slot, keepsPlace, ranking: null }
  return store.state.reserve(testPlan(deployments), candidates, request)
}

function success(used: number | null = null): Success {
  const usage = used === null ? null : { input_tokens: used, output_tokens: 0, total_tokens: used }
  return { usage, latencyMs: 100, restMs: null, strategy: null }
}

function grantOf(deployment: PlanDeployment, isProbe = false): Grant {
  return { deployment, bookedAt: 0, isProbe, tokens: { input: 0, output: 0 }, holder: null }
}

function fail(plan: Plan, deployment: PlanDeployment, change: Partial<Failure> = {}, isProbe = false) {
  const failure: Failure = {
    class: 'internal_server',
    strategy: null,
    status: 500,
    isClientsMistake: false,
    retryAfterMs: null,
    isPossiblyBilled: false,
    groupSize: 1,
    ...change,
  }
  return store.state.fail(plan, grantOf(deployment, isProbe), failure)
}

async function isCooling(deployment: PlanDeployment): Promise<boolean> {
  return (await reserve([deployment])).kind === 'wait'
}

test('an explicit allowed_fails of 3 allows three failures and cools at the fourth', async () => {
  const one = testDeployment('one')
  const plan = testPlan([one], { allowed_fails: 3 })
  for (let count = 0; count < 3; count++) await fail(plan, one)
  expect(await isCooling(one)).toBe(false)
  await fail(plan, one)
  expect(await isCooling(one)).toBe(true)
})

test('allowed_fails of 0 and a cooldown_time of the deployment are taken as they are', async () => {
  const one = testDeployment('one', { allowed_fails: 0, cooldown_time_s: 1 })
  const two = testDeployment('two', { allowed_fails: 0, cooldown_time_s: 0 })
  const before = Date.now()
  await fail(testPlan([one]), one)
  await fail(testPlan([two]), two)
  const [cools] = await store.state.read('owner', [one])
  // What is over is no longer told: then a machine with other things to do took more than the second.
  if (cools?.coolingUntil) expect(cools.coolingUntil - before).toBeGreaterThanOrEqual(1_000)
  expect(await isCooling(two)).toBe(false)
  await eventually('the cooldown is over', async () => !(await isCooling(one)))
  expect(Date.now() - before).toBeGreaterThanOrEqual(1_000)
})

test('one failure counted by two workers at the same time is two failures', async () => {
  const one = testDeployment('one')
  const plan = testPlan([one], { allowed_fails: 1 })
  await Promise.all([fail(plan, one), fail(plan, one)])
  expect(await isCooling(one)).toBe(true)
})

test('the mistakes of a client and disabled cooldowns never cool a deployment', async () => {
  const one = testDeployment('one')
  for (let count = 0; count < 5; count++) {
    await fail(testPlan([one], { allowed_fails: 0 }), one, { isClientsMistake: true, status: 400 })
    await fail(testPlan([one], { allowed_fails: 0, disable_cooldowns: true }), one)
  }
  expect(await isCooling(one)).toBe(false)
})

test('a 429 pauses the key for its Retry-After, for every deployment that shares the key', async () => {
  const one = testDeployment('one', { key_id: 'shared' })
  const two = testDeployment('two', { key_id: 'shared' })
  const other = testDeployment('other')
  await fail(testPlan([one], { disable_cooldowns: true }), one, { status: 429, retryAfterMs: 5_000 })
  const wait = await reserve([two])
  expect(wait.kind === 'wait' && wait.at - wait.now).toBeGreaterThan(4_900)
  expect(await isCooling(other)).toBe(false)
})

test('without allowed_fails a 401 cools at once, and 500s when most of at least five calls failed', async () => {
  const one = testDeployment('one')
  const two = testDeployment('two')
  const plan = testPlan([one, two])
  await fail(plan, one, { status: 401, groupSize: 2 })
  expect(await isCooling(one)).toBe(true)
  for (let count = 0; count < 4; count++) await fail(plan, two, { groupSize: 2 })
  expect(await isCooling(two)).toBe(false)
  await fail(plan, two, { groupSize: 2 })
  expect(await isCooling(two)).toBe(true)
})

test('after a cooldown one call is the probe; the rest wait until it succeeded', async () => {
  const one = testDeployment('one', { allowed_fails: 0, cooldown_time_s: 0.05 })
  const plan = testPlan([one])
  await fail(plan, one)
  const probe = await eventually('a probe is let through', async () => {
    const got = await reserve([one])
    return got.kind === 'go' ? got.grant : null
  })
  expect(probe.isProbe).toBe(true)
  expect(await isCooling(one)).toBe(true)
  await store.state.succeed(plan, probe, success())
  const after = await reserve([one])
  expect(after.kind === 'go' && after.grant.isProbe).toBe(false)
})

test('a probe that fails cools its deployment again', async () => {
  const one = testDeployment('one', { allowed_fails: 5, cooldown_time_s: 10 })
  await fail(testPlan([one]), one, {}, true)
  const wait = await reserve([one])
  expect(wait.kind === 'wait' && wait.at - wait.now).toBeGreaterThan(9_000)
})

test('a cooldown is never shortened, whatever the order of failures', async () => {
  const noteFailure = createScript(store.redis, 'note-failure')
  const moves = fc.array(fc.record({ now: fc.nat(10_000), cooldown: fc.nat(5_000), pause: fc.nat(5_000) }), {
    maxLength: 12,
  })
  let round = 0
  await fc.assert(
    fc.asyncProperty(moves, async (failures) => {
      const state = `${store.prefix}:{p}:${++round}`
      let [until, paused] = [0, 0]
      for (const { now, cooldown, pause } of failures) {
        const at = 1_000_000 + now
        const reply = await noteFailure(
          [state, `${state}:key`],
          [at, 60_000, '1', '1', '', cooldown, pause, '0', '0', ''],
        )
        const [cooling = 0, keyPaused = 0] = reply as number[]
        const stored = Number(await store.redis.hget(state, 'until'))
        if (stored < until || (cooling > 0 && cooling < until)) return false
        if (keyPaused > 0 && keyPaused < paused) return false
        until = stored
        paused = Math.max(paused, keyPaused)
      }
      return true
    }),
    { numRuns: 60 },
  )
})

test('no window ever holds more calls than rpm, and what waits gets a place of its own', async () => {
  const one = testDeployment('one', { rpm: 5 })
  const got = await Promise.all(Array.from({ length: 14 }, () => reserve([one], { keepsPlace: true })))
  const times = got
    .map((one_) => (one_.kind === 'go' ? one_.grant.bookedAt : one_.at))
    .toSorted((a, b) => a - b)
  expect(got.filter(({ kind }) => kind === 'go')).toHaveLength(5)
  for (let at = 5; at < times.length; at++) {
    expect((times[at] ?? 0) - (times[at - 5] ?? 0)).toBeGreaterThanOrEqual(WINDOW_MS)
  }
  // At least 95% of the limit is used: the third window's worth is granted right after two windows.
  expect((times[13] ?? 0) - (times[0] ?? 0)).toBeLessThan(2 * WINDOW_MS * 1.05)
})

test('a place that was kept is used at its time without counting again', async () => {
  const one = testDeployment('one', { rpm: 1 })
  expect((await reserve([one])).kind).toBe('go')
  const wait = await reserve([one], { keepsPlace: true })
  if (wait.kind !== 'wait') throw new Error('the limit does not hold')
  expect(wait.why).toBe('limit')
  const slot = { id: 'one', at: wait.at }
  await eventually('its time has come', () => Date.now() >= wait.at)
  expect((await reserve([one], { slot })).kind).toBe('go')
  const [standing] = await store.state.read('owner', [one])
  expect(standing?.used.requests).toBe(1)
})

test('two jobs with different limits share the usage of one deployment', async () => {
  const narrow = testDeployment('one', { rpm: 2 })
  const wide = testDeployment('one', { rpm: 10 })
  for (let count = 0; count < 3; count++) expect((await reserve([wide])).kind).toBe('go')
  expect((await reserve([narrow])).kind).toBe('wait')
  expect((await reserve([wide])).kind).toBe('go')
})

test('tokens are reserved by estimate and settled with real usage', async () => {
  const one = testDeployment('one', { tpm: 100 })
  const plan = testPlan([one])
  const first = await reserve([one], { tokens: 80 })
  expect(first.kind).toBe('go')
  expect((await reserve([one], { tokens: 30 })).kind).toBe('wait')
  if (first.kind === 'go') await store.state.succeed(plan, first.grant, success(10))
  expect((await reserve([one], { tokens: 30 })).kind).toBe('go')
  expect((await reserve([one], { tokens: 70 })).kind).toBe('wait')
})

test('a request larger than the whole tpm runs alone instead of never', async () => {
  const one = testDeployment('one', { tpm: 100 })
  expect((await reserve([one], { tokens: 500 })).kind).toBe('go')
  expect((await reserve([one], { tokens: 1 })).kind).toBe('wait')
})

test('the first free one in the order of preference is taken, and the earliest named when none is', async () => {
  const one = testDeployment('one', { allowed_fails: 0, cooldown_time_s: 30 })
  const two = testDeployment('two', { allowed_fails: 0, cooldown_time_s: 10 })
  const plan = testPlan([one, two])
  await fail(plan, one)
  const other = await reserve([one, two])
  expect(other.kind === 'go' && other.grant.deployment.id).toBe('two')
  await fail(plan, two)
  const wait = await reserve([one, two])
  expect(wait.kind === 'wait' && wait.deployment.id).toBe('two')
})

test('jobs that wait for one cooldown are woken one after the other', async () => {
  const one = testDeployment('one', { allowed_fails: 0, cooldown_time_s: 30 })
  await fail(testPlan([one]), one)
  const waits = await Promise.all(Array.from({ length: 20 }, () => reserve([one], { keepsPlace: true })))
  expect(new Set(waits.map((wait) => wait.kind === 'wait' && wait.at)).size).toBe(20)
})

test('a place that was kept long ago is given back, so that many of them do not go at once', async () => {
  const one = testDeployment('one', { rpm: 2 })
  for (let count = 0; count < 2; count++) await reserve([one])
  const slot = { id: 'one', at: Date.now() - 5_000 }
  expect((await reserve([one], { slot })).kind).toBe('wait')
})

test('a Retry-After of 0, of a fraction, or in the past pauses a key for the default or a second, and breaks nothing', async () => {
  for (const [index, retryAfterMs] of [0, 12.5, 1000.5].entries()) {
    const one = testDeployment(`one${index}`)
    await fail(testPlan([one], { cooldown_time_s: 2 }), one, { status: 429, retryAfterMs, groupSize: 2 })
    const wait = await reserve([one])
    expect(wait.kind === 'wait' && wait.at - wait.now, String(retryAfterMs)).toBeGreaterThan(900)
  }
})

test('a probe that came to nothing leaves its place to the next', async () => {
  const one = testDeployment('one', { allowed_fails: 0, cooldown_time_s: 0.05 })
  const plan = testPlan([one])
  await fail(plan, one)
  const probe = await eventually('a probe is let through', async () => {
    const got = await reserve([one])
    return got.kind === 'go' ? got.grant : null
  })
  expect(await isCooling(one)).toBe(true)
  await store.state.release(plan, probe)
  const next = await reserve([one])
  expect(next.kind === 'go' && next.grant.isProbe).toBe(true)
})

test('the success of an older probe does not lift a pause that came after it', async () => {
  const one = testDeployment('one', { key_id: 'shared', allowed_fails: 0, cooldown_time_s: 0.05 })
  const plan = testPlan([one])
  await fail(plan, one)
  const probe = await eventually('a probe is let through', async () => {
    const got = await reserve([one])
    return got.kind === 'go' ? got.grant : null
  })
  await fail(plan, one, { status: 429, retryAfterMs: 30_000, isClientsMistake: true })
  await store.state.succeed(plan, probe, success())
  expect(await isCooling(one)).toBe(true)
})

test('a call that failed without using tokens gives its estimate back', async () => {
  const one = testDeployment('one', { tpm: 100 })
  const got = await reserve([one], { tokens: 90 })
  if (got.kind !== 'go') throw new Error('nothing was used yet')
  await store.state.fail(testPlan([one]), got.grant, {
    class: 'bad_request',
    strategy: null,
    status: 400,
    isClientsMistake: true,
    retryAfterMs: null,
    isPossiblyBilled: false,
    groupSize: 1,
  })
  await eventually('it came back', async () => (await reserve([one], { tokens: 90 })).kind === 'go')
})
