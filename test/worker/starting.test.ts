import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLog } from '../../shared/log.ts'
import type { NotedOnDisk } from '../../worker/on-disk.ts'
import { createJobRecords } from '../../worker/record-of-job.ts'
import { openRun, type Run } from '../../worker/run.ts'
import { createStarting } from '../../worker/starting.ts'
import { eventually, gate } from '../support/eventually.ts'
import { testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

const WINDOW_MS = 2_000
const START = 1_800_000_000_000

let store: TestStore
let now = START
beforeEach(() => {
  store = testStore({ windowMs: WINDOW_MS })
  now = START
})
afterEach(() => store.cleanup())

const hold = { signal: new AbortController().signal, reason: () => null, leave: () => {} }
const one = testDeployment('one', { rpm: 2, max_parallel: 5 })
const plan = testPlan([one])

async function claimedRun(claims: TestStore['claims'], ofJob = plan): Promise<Run> {
  await store.jobs.create(store.jobInput({ plan: ofJob }))
  const fed = store.queued.at(-1)
  const got = fed && (await store.claims.claim(fed))
  if (got?.kind !== 'claimed') throw new Error('the job was not claimed')
  const records = createJobRecords({ ...store, claims, afterSettle: () => {}, afterSnooze: () => {} })
  return openRun(got.claim, records.open(got.claim, hold), Date.now()).run
}

/** Starts a call whose note in the record takes until `noted` is opened. */
function slowStart(notedOnDisk?: NotedOnDisk) {
  const noted = gate()
  const state = store.makeState({ now: () => now })
  const start: typeof store.claims.start = async (...args) => {
    await noted.opened
    return store.claims.start(...args)
  }
  const starting = createStarting({ state, log: createLog('silent', 'test'), notedOnDisk })
  return { state, starting, noted, claims: { ...store.claims, start } }
}

const request = {
  holder: 'other',
  tokens: { input: 0, output: 0 },
  slot: null,
  keepsPlace: true,
  ranking: null,
}

async function timePasses(ms: number): Promise<void> {
  const since = performance.now()
  await eventually('time passes', () => performance.now() - since > ms)
}

test('a call that is made long after it was let through is counted when it is made', async () => {
  const { state, starting, noted, claims } = slowStart()
  const run = await claimedRun(claims)
  const candidates = [{ deployment: one, tier: 0 }] as const
  const started = starting.start(run, hold, candidates)
  await eventually(
    'it is let through',
    async () => (await state.read('owner', [one]))[0]?.used.requests === 1,
  )
  now += 1_500
  await timePasses(WINDOW_MS * 0.005)
  noted.open()
  expect(await started).toMatchObject({ kind: 'started', grant: { bookedAt: now } })
  const [standing] = await state.read('owner', [one])
  expect(standing).toMatchObject({ used: { requests: 1 }, inFlight: 1 })
  now += 600
  expect((await state.reserve(plan, candidates, request)).kind).toBe('go')
  const wait = await state.reserve(plan, candidates, { ...request, holder: 'third' })
  expect(wait.kind === 'wait' && wait.at).toBeGreaterThan(START + 1_500 + WINDOW_MS)
})

test('one that would break the limit by now waits, and leaves its place in flight', async () => {
  const { state, starting, noted, claims } = slowStart()
  const run = await claimedRun(claims)
  const candidates = [{ deployment: one, tier: 0 }] as const
  const started = starting.start(run, hold, candidates)
  await eventually(
    'it is let through',
    async () => (await state.read('owner', [one]))[0]?.used.requests === 1,
  )
  now += 5_000
  for (const holder of ['a', 'b']) {
    const got = await state.reserve(plan, candidates, { ...request, holder })
    if (got.kind === 'go') await state.release(plan, got.grant)
  }
  await timePasses(WINDOW_MS * 0.005)
  noted.open()
  expect(await started).toMatchObject({ kind: 'wait', why: 'limit' })
  await eventually('nobody holds a place', async () => (await state.read('owner', [one]))[0]?.inFlight === 0)
})

test('a call that must be known on the disk is noted again until it is; others are asked of nobody', async () => {
  const asked: number[] = []
  const notedOnDisk: NotedOnDisk = async (id, attempts) => {
    const noted = Number(await store.redis.hget(store.keys.job(id), 'attempts'))
    asked.push(noted - attempts)
    // As if Redis had lost it the first time.
    if (asked.length === 1) await store.redis.hset(store.keys.job(id), 'attempts', 0)
    return asked.length > 1 ? 'kept' : 'gone'
  }
  const { starting, noted, claims } = slowStart(notedOnDisk)
  noted.open()
  await store.window.beat('worker', 10, 60_000)
  const candidates = [{ deployment: one, tier: 0 }] as const
  const sure = await claimedRun(claims, { ...plan, durability: 'fsync' })
  expect(await starting.start(sure, hold, candidates)).toMatchObject({ kind: 'started' })
  expect(asked).toEqual([0, 0])
  expect((await starting.start(await claimedRun(claims), hold, candidates)).kind).toBe('started')
  expect(asked).toHaveLength(2)
})

test('a call that waited for the disk is counted when it is made, and waits when it would break the limit by then', async () => {
  const disk = gate()
  const { state, starting, noted, claims } = slowStart(async () => {
    await disk.opened
    return 'kept'
  })
  noted.open()
  await store.window.beat('worker', 10, 60_000)
  const candidates = [{ deployment: one, tier: 0 }] as const
  const runs = [await claimedRun(claims, { ...plan, durability: 'fsync' })]
  runs.push(await claimedRun(claims, { ...plan, durability: 'fsync' }))
  const started = runs.map((run) => starting.start(run, hold, candidates))
  await eventually(
    'they are let through',
    async () => (await state.read('owner', [one]))[0]?.used.requests === 2,
  )
  now += 5_000
  expect((await state.reserve(plan, candidates, request)).kind).toBe('go')
  await timePasses(WINDOW_MS * 0.005)
  disk.open()
  const kinds = (await Promise.all(started)).map(({ kind }) => kind)
  expect(kinds.toSorted()).toEqual(['started', 'wait'])
  expect((await state.read('owner', [one]))[0]?.used.requests).toBe(2)
  await eventually(
    'who waits holds no place',
    async () => (await state.read('owner', [one]))[0]?.inFlight === 2,
  )
})

test('a call whose job was taken over while the disk was waited for is not made, and leaves its place', async () => {
  const { state, starting, noted, claims } = slowStart(async (id) => {
    await store.redis.hset(store.keys.job(id), 'token', 'of another claim')
    return 'unsure'
  })
  noted.open()
  const sure = await claimedRun(claims, { ...plan, durability: 'fsync' })
  expect(await starting.start(sure, hold, [{ deployment: one, tier: 0 }])).toEqual({ kind: 'fenced' })
  await eventually('nobody holds a place', async () => (await state.read('owner', [one]))[0]?.inFlight === 0)
})
