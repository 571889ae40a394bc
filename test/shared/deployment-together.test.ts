import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Failure, Grant, Reservation, Tokens } from '../../shared/routing/deployment-state.ts'
import type { PlanDeployment } from '../../shared/schemas/plan.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const WINDOW_MS = 60_000
const START = 1_800_000_000_000
const COOLDOWN_MS = 5_000

let store: TestStore
let now = START
let workers: ReturnType<TestStore['makeState']>[]
beforeEach(() => {
  store = testStore({ windowMs: WINDOW_MS })
  now = START
  workers = [0, 1].map(() => store.makeState({ now: () => now }))
})
afterEach(() => store.cleanup())

/** All at once, by two workers in turn. */
function askTogether(deployment: PlanDeployment, calls: readonly Tokens[], others: PlanDeployment[] = []) {
  const all = [deployment, ...others]
  const candidates = all.map((one, tier) => ({ deployment: one, tier }))
  return Promise.all(
    calls.map((tokens, index) => {
      const request = { holder: `job${index}`, tokens, slot: null, keepsPlace: false, ranking: null }
      return workers[index % 2]?.reserve(testPlan(all), candidates, request) as Promise<Reservation>
    }),
  )
}

function grantsOf(reservations: readonly Reservation[]): Grant[] {
  return reservations.flatMap((one) => (one.kind === 'go' ? [one.grant] : []))
}

async function fail(deployment: PlanDeployment, change: Partial<Failure> = {}): Promise<void> {
  const grant = { deployment, bookedAt: 0, isProbe: false, tokens: { input: 0, output: 0 }, holder: null }
  await workers[0]?.fail(testPlan([deployment], { allowed_fails: 0, cooldown_time_s: COOLDOWN_MS / 1000 }), grant, {
    class: 'internal_server', strategy: null, status: 500, isClientsMistake: false, retryAfterMs: null,
    isPossiblyBilled: false, groupSize: 1, ...change,
  }) // oxfmt-ignore
}

const many = (count: number): Tokens[] => Array.from({ length: count }, () => ({ input: 1, output: 1 }))

test('calls that ask together never get more than the limits allow, and all of it', async () => {
  let round = 0
  const tokens = fc.record({ input: fc.integer({ min: 1, max: 40 }), output: fc.nat(40) })
  const limits = fc.record({ rpm: fc.integer({ min: 1, max: 20 }), tpm: fc.integer({ min: 80, max: 600 }) })
  await fc.assert(
    fc.asyncProperty(limits, fc.array(tokens, { minLength: 2, maxLength: 30 }), async (limit, calls) => {
      round += 1
      const one = testDeployment(`t${round}`, limit)
      const used = grantsOf(await askTogether(one, calls)).map((grant) => grant.tokens)
      const sum = used.reduce((all, { input, output }) => all + input + output, 0)
      expect(used.length).toBeLessThanOrEqual(limit.rpm)
      expect(sum).toBeLessThanOrEqual(limit.tpm)
      // Whoever had to wait did not fit any more.
      const shortest = Math.min(...calls.map(({ input, output }) => input + output))
      if (used.length < calls.length)
        expect(used.length === limit.rpm || sum + 80 > limit.tpm || sum + shortest > limit.tpm).toBe(true)
      const [standing] = (await workers[0]?.read(testPlan([one]).owner_id, [one])) ?? []
      expect(standing?.used).toMatchObject({ requests: used.length, tokens: sum })
    }),
    { numRuns: 60, endOnFailure: true },
  )
})

test('calls that ask together for what nobody limits go uncounted', async () => {
  const grants = grantsOf(await askTogether(testDeployment('free'), many(10)))
  expect(grants).toHaveLength(10)
  expect(new Set(grants.map(({ bookedAt }) => bookedAt))).toEqual(new Set([0]))
})

test('calls without limits are counted where others limit the same deployment', async () => {
  const both = testDeployment('both')
  await askTogether({ ...both, rpm: 100 }, many(4))
  const grants = grantsOf(await askTogether(both, many(10)))
  expect(grants.map(({ bookedAt }) => bookedAt)).toEqual(Array.from({ length: 10 }, () => START))
  const [standing] = (await workers[0]?.read(testPlan([both]).owner_id, [both])) ?? []
  expect(standing?.used.requests).toBe(14)
})

test('nobody of those who ask together calls a cooling deployment; after the cooldown one of them does', async () => {
  const one = testDeployment('one')
  await fail(one)
  now += COOLDOWN_MS - 1
  expect(grantsOf(await askTogether(one, many(10)))).toHaveLength(0)
  now += 1
  const grants = grantsOf(await askTogether(one, many(10)))
  expect(grants.map(({ isProbe }) => isProbe)).toEqual([true])
})

test('nobody of those who ask together calls with a key that rests', async () => {
  const one = testDeployment('one')
  await fail(one, { class: 'rate_limit', status: 429, retryAfterMs: 30_000 })
  expect(grantsOf(await askTogether(testDeployment('two'), many(10)))).toHaveLength(10)
  now += 29_999
  expect(
    grantsOf(await askTogether({ ...testDeployment('two'), key_id: one.key_id }, many(10))),
  ).toHaveLength(0)
})

test('those who find the first choice full take the next', async () => {
  const grants = grantsOf(
    await askTogether(testDeployment('first', { rpm: 3 }), many(10), [testDeployment('next')]),
  )
  const names = grants.map(({ deployment }) => deployment.id)
  expect(names.filter((id) => id === testDeployment('first').id)).toHaveLength(3)
  expect(names).toHaveLength(10)
})
