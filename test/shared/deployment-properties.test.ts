import fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { DeploymentState, Failure, Grant, Success } from '../../shared/routing/deployment-state.ts'
import type { PlanDeployment } from '../../shared/schemas/plan.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const LEASE_MS = 10_000
const PROBE_MS = 60_000
const START = 1_800_000_000_000
const NONE = { input: 0, output: 0 }
const SUCCESS: Success = { usage: null, latencyMs: 1, restMs: null, strategy: null }

let store: TestStore
let now = START
let workers: DeploymentState[]
beforeEach(() => {
  store = testStore({ leaseMs: LEASE_MS })
  now = START
  const asOne = () => store.makeState({ now: () => now, wakeOthers: async () => [] })
  workers = [asOne(), asOne(), asOne()]
})
afterEach(() => store.cleanup())

function workerOf(index: number): DeploymentState {
  const worker = workers[index % workers.length]
  if (!worker) throw new Error('there is none')
  return worker
}

function ask(by: DeploymentState, deployment: PlanDeployment, holder: string) {
  const request = { holder, tokens: NONE, slot: null, keepsPlace: true, ranking: null }
  return by.reserve(testPlan([deployment]), [{ deployment, tier: 0 }], request)
}

const failure = fc.constantFrom<Pick<Failure, 'class' | 'status' | 'isClientsMistake'>>(
  { class: 'rate_limit', status: 429, isClientsMistake: false },
  { class: 'internal_server', status: 500, isClientsMistake: false },
  { class: 'authentication', status: 401, isClientsMistake: false },
  { class: 'not_found', status: 404, isClientsMistake: false },
  { class: 'bad_request', status: 400, isClientsMistake: true },
)

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('ask' as const), at: fc.nat(1), by: fc.nat(2) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      call: fc.nat(5),
      by: fc.nat(2),
      failure,
      retryAfterMs: fc.option(fc.integer({ min: 0, max: 40_000 })),
      groupSize: fc.integer({ min: 1, max: 3 }),
    }),
  },
  fc.record({ kind: fc.constant('succeed' as const), call: fc.nat(5), by: fc.nat(2) }),
  fc.record({ kind: fc.constant('release' as const), call: fc.nat(5), by: fc.nat(2) }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('later' as const), ms: fc.integer({ max: 30_000, min: 0 }) }) },
) // oxfmt-ignore

test('whatever fails, ends or is tried, in whatever order: no cooldown or pause gets shorter, nobody calls before its end, and one probes', async () => {
  let round = 0
  const settings = fc.record({
    allowed_fails: fc.option(fc.nat(2)),
    cooldown_time_s: fc.constantFrom(0, 1, 5, 20),
    disable_cooldowns: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.array(step, { minLength: 20, maxLength: 40, size: 'max' }),
      async (change, steps) => {
        round += 1
        now = START + round * 3_600_000
        const two = ['a', 'b'].map((id) => testDeployment(`${id}${round}`, { key_id: `key${round}` }))
        const plan = testPlan(two, change)
        const calls: Grant[] = []
        // When each may be called again, as far as it was ever said; and since when its probe is under way.
        const until = new Map<string, number>()
        const probing = new Map<string, number>()
        const noteUntil = async () => {
          for (const { id, coolingUntil, pausedUntil } of await workerOf(0).read('owner', two)) {
            const stands = Math.max(coolingUntil ?? 0, pausedUntil ?? 0)
            const known = until.get(id) ?? 0
            if (known > now) expect(stands, `${id} until`).toBeGreaterThanOrEqual(known)
            until.set(id, Math.max(known, stands))
          }
        }
        for (const one of steps) {
          if (one.kind === 'later') now += one.ms
          else if (one.kind === 'ask') {
            const deployment = two[one.at]
            if (!deployment) continue
            const got = await ask(workerOf(one.by), deployment, `job${calls.length}`)
            if (got.kind === 'wait') continue
            expect(now, 'a call before its time').toBeGreaterThanOrEqual(until.get(deployment.id) ?? 0)
            expect(now - (probing.get(deployment.id) ?? 0), 'a second probe').toBeGreaterThanOrEqual(PROBE_MS)
            if (got.grant.isProbe) probing.set(deployment.id, now)
            calls.push(got.grant)
          } else {
            const [grant] = calls.splice(one.call % Math.max(1, calls.length), 1)
            if (!grant) continue
            const worker = workerOf(one.by)
            if (grant.isProbe) probing.delete(grant.deployment.id)
            if (one.kind === 'succeed') await worker.succeed(plan, grant, SUCCESS)
          else if (one.kind === 'release') await worker.release(plan, grant)
          else {
            const { groupSize, retryAfterMs } = one
            const said = { ...one.failure, groupSize, retryAfterMs, isPossiblyBilled: false, strategy: null }
            await worker.fail(plan, grant, said)
            // What another learned meanwhile ends the wait for a probe: it holds by itself.
            probing.delete(grant.deployment.id)
            const pauses = one.failure.status === 429
            if (pauses) for (const { id } of two) until.set(id, Math.max(until.get(id) ?? 0, now + (retryAfterMs ?? 0)))
          } // oxfmt-ignore
          }
          await noteUntil()
        }
      },
    ),
    { numRuns: 150, endOnFailure: true },
  )
})

test('whoever asks, ends or is killed: no more calls are open than allowed, and a killed worker’s places come back', async () => {
  let round = 0
  const move = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('ask' as const), job: fc.nat(11), by: fc.nat(2) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('end' as const), call: fc.nat(11) }) },
    fc.record({ kind: fc.constant('kill' as const), by: fc.nat(2) }),
  ) // oxfmt-ignore
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(move, { maxLength: 50 }), async (limit, moves) => {
      round += 1
      now = START + round * 3_600_000
      const one = testDeployment(`p${round}`, { max_parallel: limit })
      const plan = testPlan([one])
      let open: { job: number; by: number; grant: Grant }[] = []
      for (const each of moves) {
        now += 1
        if (each.kind === 'kill') open = open.filter(({ by }) => by !== each.by)
        else if (each.kind === 'end') {
          const [ended] = open.splice(each.call % Math.max(1, open.length), 1)
          if (ended) await workerOf(ended.by).release(plan, ended.grant)
        } else if (!open.some(({ job }) => job === each.job)) {
          const got = await ask(workerOf(each.by), one, `job${each.job}`)
          if (got.kind === 'go') open.push({ ...each, grant: got.grant })
        }
        expect(open.length).toBeLessThanOrEqual(limit)
      }
      for (const { by, grant } of open) await workerOf(by).release(plan, grant)
      now += LEASE_MS + 1
      // The line comes first: each asks until it was served, then a newcomer finds every place free.
      const unserved = new Set(Array.from({ length: 12 }, (_, job) => job))
      for (let turn = 0; turn < 12; turn += 1) {
        for (const job of unserved) {
          const got = await ask(workerOf(0), one, `job${job}`)
          if (got.kind === 'wait') continue
          await workerOf(0).release(plan, got.grant)
          unserved.delete(job)
        }
      }
      expect(unserved.size).toBe(0)
      for (let job = 0; job < limit; job += 1)
        expect((await ask(workerOf(0), one, `newcomer${job}`)).kind).toBe('go')
    }),
    { numRuns: 60, endOnFailure: true },
  ) // oxfmt-ignore
})

const everything = {
  tokens: { input: 10, output: 10 },
  slot: { id: 'd4', at: START + 1_000 },
  keepsPlace: true,
  ranking: { by: 'latency' as const, buffer: 0.5, ttlMs: 60_000 },
}

test('limits, cooldowns, pauses, usage, places and ranking of ten deployments are one command to Redis', async () => {
  const ten = Array.from({ length: 10 }, (_, index) =>
    testDeployment(`d${index}`, { rpm: 10, tpm: 1_000, itpm: 900, otpm: 900, max_parallel: 2 }),
  )
  const candidates = ten.map((deployment, index) => ({ deployment, tier: index % 3 }))
  const [worker] = workers
  await worker?.reserve(testPlan(ten), candidates, { ...everything, holder: 'first' })
  const sent = vi.spyOn(store.redis, 'sendCommand')
  const got = await worker?.reserve(testPlan(ten), candidates, { ...everything, holder: 'second' })
  expect(got?.kind).toBe('go')
  expect(sent.mock.calls.map(([command]) => command.name)).toEqual(['EVALSHA'])
})
