import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeploymentState, Failure, Grant, Ranking } from '../../shared/routing/deployment-state.ts'
import type { PlanDeployment, Strategy } from '../../shared/schemas/plan.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const BUSY: Ranking = { by: 'busy', buffer: 0, ttlMs: 0 }
const TOKENS: Ranking = { by: 'tokens', buffer: 0, ttlMs: 0 }
const LATENCY: Ranking = { by: 'latency', buffer: 0, ttlMs: 3_600_000 }
const BY_LATENCY: Strategy = { name: 'latency' }

let store: TestStore
let now = 0
let state: DeploymentState
beforeEach(() => {
  store = testStore()
  now = 1_800_000_000_000
  state = store.makeState({ now: () => now })
})
afterEach(() => store.cleanup())

const three = ['one', 'two', 'three'].map((id) => testDeployment(id))
const [one, two, third] = three as [PlanDeployment, PlanDeployment, PlanDeployment] // three of them

async function pick(
  ranking: Ranking | null,
  candidates: readonly (PlanDeployment | { deployment: PlanDeployment; tier: number })[] = three,
  change: { holder?: string; input?: number; by?: DeploymentState } = {},
): Promise<Grant> {
  const { holder = 'job', input = 0, by = state } = change
  const tiered = candidates.map((one_) => ('tier' in one_ ? one_ : { deployment: one_, tier: 0 }))
  const request = { holder, tokens: { input, output: 0 }, slot: null, keepsPlace: true, ranking }
  const got = await by.reserve(testPlan(three), tiered, request)
  if (got.kind !== 'go') throw new Error('nothing is free')
  return got.grant
}

async function picked(...args: Parameters<typeof pick>): Promise<string> {
  return (await pick(...args)).deployment.id
}

function countsOf(ids: readonly string[]): number[] {
  return three.map(({ id }) => ids.filter((other) => other === id).length)
}

/** One call that took so long for so many tokens. */
async function sample(
  deployment: PlanDeployment,
  latencyMs: number,
  outputTokens: number,
  strategy = BY_LATENCY,
) {
  const grant: Grant = {
    deployment,
    bookedAt: 0,
    isProbe: false,
    tokens: { input: 0, output: 0 },
    holder: null,
  }
  const usage = { input_tokens: 0, output_tokens: outputTokens, total_tokens: outputTokens }
  await state.succeed(testPlan(three), grant, { usage, latencyMs, restMs: null, strategy })
}

test('a burst of a hundred jobs over two workers is spread evenly by calls in flight', async () => {
  const other = store.makeState({ now: () => now })
  const ids = await Promise.all(
    Array.from({ length: 99 }, (_, index) =>
      picked(BUSY, three, { holder: `job${index}`, by: index % 2 ? state : other }),
    ),
  )
  expect(countsOf(ids)).toEqual([33, 33, 33])
})

test('a call that ended no longer counts as in flight, nor does one whose worker died', async () => {
  const first = await pick(BUSY, three, { holder: 'a' })
  await pick(BUSY, three, { holder: 'b' })
  await pick(BUSY, three, { holder: 'c' })
  expect(first.holder).toBe('a')
  await state.release(testPlan(three), first)
  await expect.poll(() => picked(BUSY, [third, two, one], { holder: 'd' })).toBe('one')
  now += 10_001
  expect(await picked(BUSY, [two, one, third], { holder: 'e' })).toBe('two')
})

test('a burst is spread by tokens, those of kept and finished calls included', async () => {
  const ids = await Promise.all(Array.from({ length: 99 }, () => picked(TOKENS, three, { input: 10 })))
  expect(countsOf(ids)).toEqual([33, 33, 33])
  const grant = await pick(TOKENS, three, { input: 10 })
  const usage = { input_tokens: 1_000, output_tokens: 0, total_tokens: 1_000 }
  await state.succeed(testPlan(three), grant, {
    usage,
    latencyMs: 1,
    restMs: null,
    strategy: { name: 'usage' },
  })
  const later = await Promise.all(Array.from({ length: 20 }, () => picked(TOKENS, three, { input: 10 })))
  expect(later).not.toContain(grant.deployment.id)
})

test('tokens of the last window are forgotten', async () => {
  await pick(TOKENS, [one], { input: 1_000 })
  expect(await picked(TOKENS, [one, two], { input: 1 })).toBe('two')
  now += 61_700
  expect(await picked(TOKENS, [one, two], { input: 1 })).toBe('one')
})

test('the fastest by seconds per token is picked, and one that was never used before it', async () => {
  await sample(one, 4_000, 100)
  await sample(two, 9_000, 300)
  expect(await picked(LATENCY, [one, two])).toBe('two')
  expect(await picked(LATENCY)).toBe('three')
})

test('deployments within the buffer above the fastest are as good as it, in the order given', async () => {
  await sample(one, 1_200, 100)
  await sample(two, 1_000, 100)
  await sample(third, 1_600, 100)
  expect(await picked({ ...LATENCY, buffer: 0.25 })).toBe('one')
  expect(await picked({ ...LATENCY, buffer: 0.25 }, [third, two, one])).toBe('two')
  expect(await picked({ ...LATENCY, buffer: 0.1 })).toBe('two')
})

test('a call that timed out makes its deployment the slowest', async () => {
  const grant = await pick(LATENCY, [one])
  const failure: Failure = {
    class: 'timeout', status: 408, isClientsMistake: false, retryAfterMs: null, isPossiblyBilled: true, groupSize: 3, strategy: BY_LATENCY,
  } // oxfmt-ignore
  await sample(one, 10, 100)
  await sample(two, 9_000, 1)
  expect(await picked(LATENCY, [one, two])).toBe('one')
  await state.fail(testPlan(three), grant, failure)
  expect(await picked(LATENCY, [one, two])).toBe('two')
  const [standing] = await state.read('owner', [one])
  expect(standing?.secondsPerToken).toBeGreaterThan(400)
})

test('samples are forgotten after their time, and only the newest are kept', async () => {
  await sample(one, 900_000, 1)
  await sample(two, 2_000, 1)
  expect(await picked(LATENCY, [one, two])).toBe('two')
  for (let count = 0; count < 3; count++) await sample(one, 1_000, 1, { name: 'latency', samples_max: 3 })
  expect(await picked(LATENCY, [two, one])).toBe('one')
  now += 3_600_001
  expect(await picked(LATENCY, [two, one])).toBe('two')
})

test('nothing is learned of speed where no strategy asks for it', async () => {
  await sample(one, 900_000, 1, { name: 'least_busy' })
  const [standing] = await state.read('owner', [one])
  expect(standing?.secondsPerToken).toBeNull()
})

test('the tier goes before the ranking; a later one is taken when nothing of the earlier is free', async () => {
  const tiers = [
    { deployment: third, tier: 2 },
    { deployment: { ...two, rpm: 2 }, tier: 1 },
    { deployment: { ...one, rpm: 2 }, tier: 1 },
  ]
  const ids: string[] = []
  for (let count = 0; count < 6; count++) ids.push(await picked(BUSY, tiers, { holder: `job${count}` }))
  expect(ids).toEqual(['two', 'one', 'two', 'one', 'three', 'three'])
})

test('one that cools is not picked, however idle it is', async () => {
  const plan = testPlan(three, { allowed_fails: 0 })
  const grant = await pick(BUSY, [one], { holder: 'a' })
  const failure: Failure = {
    class: 'internal_server', status: 500, isClientsMistake: false, retryAfterMs: null, isPossiblyBilled: true, groupSize: 3, strategy: null,
  } // oxfmt-ignore
  await state.fail(plan, grant, failure)
  await pick(BUSY, [two], { holder: 'b' })
  await pick(BUSY, [third], { holder: 'c' })
  expect(await picked(BUSY, three, { holder: 'd' })).not.toBe('one')
})
