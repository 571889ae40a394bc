import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Grant, Reservation, Success, Tokens } from '../../shared/routing/deployment-state.ts'
import type { PlanDeployment } from '../../shared/schemas/plan.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const WINDOW_MS = 60_000
const START = 1_800_000_000_000

let store: TestStore
let now = START
let state: ReturnType<TestStore['makeState']>
beforeEach(() => {
  store = testStore({ windowMs: WINDOW_MS })
  now = START
  state = store.makeState({ now: () => now })
})
afterEach(() => store.cleanup())

type Slot = { id: string; at: number }
const NONE: Tokens = { input: 0, output: 0 }

function reserve(
  deployments: PlanDeployment[],
  change: { tokens?: Tokens; slot?: Slot | null; keepsPlace?: boolean; by?: 'tokens' } = {},
): Promise<Reservation> {
  const { tokens = NONE, slot = null, keepsPlace = false, by } = change
  const candidates = deployments.map((deployment) => ({ deployment, tier: 0 }))
  const ranking = by ? { by, buffer: 0, ttlMs: 0 } : null
  return state.reserve(testPlan(deployments), candidates, {
    holder: 'job',
    tokens,
    slot,
    keepsPlace,
    ranking,
  })
}

async function granted(deployments: PlanDeployment[], tokens: Tokens = NONE): Promise<Grant> {
  const got = await reserve(deployments, { tokens })
  if (got.kind !== 'go') throw new Error('it has to wait')
  return got.grant
}

function success(input: number, output: number): Success {
  const usage = { input_tokens: input, output_tokens: output, total_tokens: input + output }
  return { usage, latencyMs: 100, restMs: null, strategy: null }
}

/** A job that comes, and comes again when it is told to, some later than told. */
type Job = { at: number; lateMs: number; tokens: Tokens; members: PlanDeployment[]; slot: Slot | null }
type Call = { id: string; at: number; tokens: Tokens; deployment: PlanDeployment }

async function runAll(jobs: Job[]): Promise<Call[]> {
  const calls: Call[] = []
  const waiting = [...jobs]
  for (let turn = 0; waiting.length > 0; turn++) {
    if (turn > 400) throw new Error('some jobs never get their turn')
    waiting.sort((a, b) => a.at - b.at)
    const job = waiting.shift()
    if (!job) break
    now = Math.max(now, job.at)
    const got = await reserve(job.members, { ...job, keepsPlace: true })
    if (got.kind === 'go') {
      const { deployment } = got.grant
      calls.push({ id: deployment.id, at: now, tokens: job.tokens, deployment })
    } else {
      // Too early once, then late.
      const slot = { id: got.deployment.id, at: got.at }
      waiting.push({ ...job, at: got.at + job.lateMs, lateMs: Math.abs(job.lateMs), slot })
    }
  }
  return calls
}

/** Whether a call fits under its own deployment's limits with all that was called there in the window before it. */
function isWithinLimits(call: Call, calls: Call[]): boolean {
  const before = calls.filter(({ id, at }) => id === call.id && at <= call.at && at > call.at - WINDOW_MS)
  const others = before.slice(0, before.indexOf(call))
  const measures: [number | null | undefined, (tokens: Tokens) => number][] = [
    [call.deployment.rpm, () => 1],
    [call.deployment.tpm, ({ input, output }) => input + output],
    [call.deployment.itpm, ({ input }) => input],
    [call.deployment.otpm, ({ output }) => output],
  ]
  return measures.every(([limit, of]) => {
    if (!limit) return true
    const used = others.reduce((sum, { tokens }) => sum + of(tokens), 0)
    return used + Math.min(of(call.tokens), limit) <= limit
  })
}

const limit = (max: number) => fc.option(fc.integer({ min: 1, max }), { nil: undefined, freq: 2 })

test('no limit of any kind is ever broken in any window, whatever comes when, and every job gets its turn', async () => {
  const tokens = fc.record({
    input: fc.integer({ min: 0, max: 60 }),
    output: fc.integer({ min: 0, max: 60 }),
  })
  const limits = fc.record({
    rpm: fc.integer({ min: 1, max: 6 }),
    tpm: limit(300),
    itpm: limit(150),
    otpm: limit(150),
  })
  const job = fc.record({
    at: fc.integer({ min: 0, max: 3 * WINDOW_MS }),
    lateMs: fc.oneof(fc.constant(0), fc.integer({ min: -400, max: 5_000 })),
    tokens,
    config: fc.nat(1),
    both: fc.boolean(),
  })
  let round = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(limits, { minLength: 4, maxLength: 4 }),
      fc.array(job, { maxLength: 25 }),
      async (all, jobs) => {
        now = START + ++round * 1_000 * WINDOW_MS
        const start = now
        // Two configs that know the same two deployments under different limits.
        const member = (config: number, index: number) =>
          testDeployment(`d${round}-${index}`, all[2 * config + index])
        const calls = await runAll(
          jobs.map(({ at, lateMs, tokens: asked, config, both }) => {
            const members = both ? [member(config, 0), member(config, 1)] : [member(config, 0)]
            return { at: start + at, lateMs, tokens: asked, members, slot: null }
          }),
        )
        expect(calls).toHaveLength(jobs.length)
        for (const call of calls) expect(isWithinLimits(call, calls), JSON.stringify(call)).toBe(true)
      },
    ),
    { numRuns: 400, endOnFailure: true },
  )
})

test('at least 97% of the limit is used while work waits, also by jobs that come a little late', async () => {
  const one = testDeployment('one', { rpm: 20 })
  const jobs = Array.from({ length: 200 }, (_, index) => {
    return { at: START, lateMs: (index * 37) % 200, tokens: NONE, members: [one], slot: null }
  })
  const calls = await runAll(jobs)
  const last = Math.max(...calls.map(({ at }) => at))
  for (const call of calls) expect(isWithinLimits(call, calls)).toBe(true)
  expect(last - START).toBeLessThan((9 * WINDOW_MS) / 0.97)
})

test('a job that comes before its place waits for it, and keeps it', async () => {
  const one = testDeployment('one', { rpm: 1 })
  await granted([one])
  const wait = await reserve([one], { keepsPlace: true })
  if (wait.kind !== 'wait') throw new Error('the limit does not hold')
  const slot = { id: 'one', at: wait.at }
  now = wait.at - 500
  const early = await reserve([one], { slot, keepsPlace: true })
  expect(early.kind === 'wait' && early.at).toBe(wait.at)
  now = wait.at
  expect((await reserve([one], { slot, keepsPlace: true })).kind).toBe('go')
})

test('a place that was kept at one deployment is given back when another is called', async () => {
  const one = testDeployment('one', { rpm: 1 })
  const other = testDeployment('other')
  await granted([one])
  const wait = await reserve([one], { keepsPlace: true })
  if (wait.kind !== 'wait') throw new Error('the limit does not hold')
  const got = await reserve([one, other], { slot: { id: 'one', at: wait.at } })
  expect(got.kind === 'go' && got.grant.deployment.id).toBe('other')
  now = wait.at
  expect((await reserve([one])).kind).toBe('go')
})

test('input and output tokens have limits of their own', async () => {
  const inputs = testDeployment('inputs', { itpm: 100 })
  const outputs = testDeployment('outputs', { otpm: 100 })
  await granted([inputs], { input: 80, output: 500 })
  await granted([outputs], { input: 500, output: 80 })
  expect((await reserve([inputs], { tokens: { input: 30, output: 0 } })).kind).toBe('wait')
  expect((await reserve([outputs], { tokens: { input: 0, output: 30 } })).kind).toBe('wait')
  expect((await reserve([inputs], { tokens: { input: 20, output: 900 } })).kind).toBe('go')
  expect((await reserve([outputs], { tokens: { input: 900, output: 20 } })).kind).toBe('go')
})

test('a limit that is used up holds for a call of unknown length too, and one token less lets it go', async () => {
  for (const [at, used] of [100, 99].entries()) {
    const one = testDeployment(`one${at}`, { otpm: 100 })
    const grant = await granted([one])
    await state.succeed(testPlan([one]), grant, success(7, used))
    expect((await reserve([one])).kind).toBe(used === 100 ? 'wait' : 'go')
  }
})

test('settling input tokens leaves output tokens alone, and tokens that are only in the total are output', async () => {
  const one = testDeployment('one', { itpm: 100, otpm: 100 })
  const grant = await granted([one], { input: 80, output: 80 })
  const usage = { input_tokens: 10, output_tokens: 20, total_tokens: 90 }
  await state.succeed(testPlan([one]), grant, { usage, latencyMs: 1, restMs: null, strategy: null })
  const [standing] = await state.read('owner', [one])
  expect(standing?.used).toEqual({ requests: 1, tokens: 90, input_tokens: 10, output_tokens: 80 })
})

test('calls of a config without limits count for one that has them, as soon as it was seen', async () => {
  const limited = testDeployment('one', { rpm: 3, tpm: 1_000 })
  const unlimited = testDeployment('one')
  await granted([limited])
  const grant = await granted([unlimited], { input: 10, output: 10 })
  await granted([unlimited])
  expect((await reserve([limited])).kind).toBe('wait')
  expect((await reserve([unlimited])).kind).toBe('go')
  await state.succeed(testPlan([unlimited]), grant, success(300, 0))
  const [standing] = await state.read('owner', [unlimited])
  expect(standing?.used).toMatchObject({ requests: 4, tokens: 300 })
})

test('nothing is counted for a deployment that nobody limits', async () => {
  const one = testDeployment('one')
  // Whatever touches them finds the wrong type.
  for (const key of ['flight', 'line', 'usageLog'] as const)
    await store.redis.set(store.keys[key]('owner', 'one'), 'x')
  for (let count = 0; count < 3; count++)
    expect((await granted([one], { input: 5, output: 5 })).bookedAt).toBe(0)
  expect(await store.redis.exists(store.keys.deployment('owner', 'one'))).toBe(0)
})

test('usage is settled once where it was booked: twice the same is twice, and never less than nothing', async () => {
  const one = testDeployment('one', { tpm: 100 })
  const plan = testPlan([one])
  const grant = await granted([one], { input: 50, output: 40 })
  await Promise.all([
    state.succeed(plan, grant, success(0, 0)),
    store.makeState({ now: () => now }).succeed(plan, grant, success(0, 0)),
  ])
  const [standing] = await state.read('owner', [one])
  expect(standing?.used.tokens).toBe(0)
  await granted([one], { input: 100, output: 0 })
  expect((await reserve([one], { tokens: { input: 1, output: 0 } })).kind).toBe('wait')
})

test('two workers at once never take more than is left', async () => {
  const one = testDeployment('one', { rpm: 5 })
  const other = store.makeState({ now: () => now })
  const candidates = [{ deployment: one, tier: 0 }]
  const request = { holder: 'job', tokens: NONE, slot: null, keepsPlace: false, ranking: null }
  const got = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      (index % 2 ? state : other).reserve(testPlan([one]), candidates, request),
    ),
  )
  expect(got.filter(({ kind }) => kind === 'go')).toHaveLength(5)
})

test('a thousand kept places do not make the next one dear: only what a limit is worth is read', async () => {
  const one = testDeployment('one', { rpm: 2 })
  for (let count = 0; count < 1_000; count++) await reserve([one], { keepsPlace: true })
  const log = store.keys.usageLog('owner', 'one')
  const parts = (await store.redis.hkeys(log)).map(Number).toSorted((a, b) => b - a)
  expect(parts.length).toBeGreaterThan(400)
  // Whoever reads one of the older parts fails.
  const older = parts.filter((part) => part < (parts[0] ?? 0) - 2 * 60)
  await store.redis.hset(log, Object.fromEntries(older.map((part) => [part, 'unreadable'])))
  const wait = await reserve([one], { keepsPlace: true })
  expect(wait.kind === 'wait' && wait.at - START).toBeGreaterThan(499 * WINDOW_MS)
  now += 3 * WINDOW_MS
  await expect(reserve([one], { keepsPlace: true })).rejects.toThrow()
})
