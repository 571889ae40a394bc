import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import type { Claim } from '../../shared/jobs/claims.ts'
import { testStore, type TestStore } from '../support/store.ts'

const TENANTS = ['a', 'b', 'c']
const CUSTOMERS = ['x', 'y']
const SLOTS = 12
const LIVE = new Set(['queued', 'in_progress', 'cancelling'])
const NONE = { requestsPerMinute: null, jobsWaiting: null, bytesStored: null, microUsdPerDay: null }

type Step = {
  act:
    | 'submit'
    | 'remove'
    | 'forget'
    | 'late'
    | 'feed'
    | 'claim'
    | 'end'
    | 'snooze'
    | 'wake'
    | 'cancel'
    | 'lose'
    | 'limit'
  pick: number
}
type Fed = { id: string; generation: number }

const step: fc.Arbitrary<Step> = fc.record({
  act: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('submit' as const, 'submit' as const, 'claim' as const) },
    { weight: 1, arbitrary: fc.constant('limit' as const) },
    { weight: 3, arbitrary: fc.constantFrom('feed' as const, 'end' as const, 'snooze' as const) },
    { weight: 1, arbitrary: fc.constantFrom('wake' as const, 'cancel' as const, 'remove' as const, 'forget' as const, 'late' as const, 'lose' as const, 'limit' as const) },
  ),
  pick: fc.nat(10_000),
}) // oxfmt-ignore

function pickOf<T>(all: readonly T[], pick: number): T | undefined {
  return all[pick % all.length]
}

/** What a worker and the clients of one store do, in any order. */
function actors(store: TestStore) {
  const { redis, keys, ids } = store
  const made: { id: string; tenant: string }[] = []
  const held: Claim[] = []
  const lost: Claim[] = []

  const fieldsOf = (pick: number) => {
    const tenant = pickOf(TENANTS, pick) ?? ''
    const customer = pickOf([null, ...CUSTOMERS], Math.floor(pick / 3)) ?? null
    return { tenant, customer, owner: `${tenant} ${ids.ownerId(tenant, customer)}` }
  }

  async function claim(fed: Fed): Promise<void> {
    const result = await store.claims.claim(fed)
    if (result.kind === 'claimed') held.push(result.claim)
  }

  async function lose(): Promise<void> {
    const [one] = held.splice(0, 1)
    if (!one) return
    lost.push(one)
    await redis.zadd(keys.window, 'XX', '0', one.id)
    for (const job of await store.window.overdue(10)) {
      const again = await store.window.refeed(job)
      if (again) store.queued.push(again)
    }
  }

  async function limit(pick: number): Promise<void> {
    const { tenant, customer, owner } = fieldsOf(pick)
    const field = customer === null ? tenant : owner
    const most = Math.floor(pick / 9) % 4
    if (most === 3) await redis.hdel(keys.concurrency, field)
    else await redis.hset(keys.concurrency, field, most)
  }

  const acts: Record<Step['act'], (pick: number) => Promise<unknown>> = {
    submit: async (pick) => {
      const { tenant, customer } = fieldsOf(pick)
      const priority = pickOf(['high', 'normal', 'low'] as const, pick) ?? 'normal'
      const admission = { tenant: NONE, customer: null, holdMicroUsd: pick, resultBytes: 2 * pick }
      const delayMs = pick % 10 === 0 ? 60_000 : 0
      const input = store.jobInput({ tenant, customer, priority, delayMs, admission })
      made.push({ id: input.id, tenant })
      await store.jobs.create(input)
    },
    feed: async () => store.queued.push(...(await store.window.feed())),
    claim: async () => {
      const fed = store.queued.shift()
      if (fed) await claim(fed)
    },
    end: async (pick) => {
      const [one] = held.splice(pick % Math.max(1, held.length), 1)
      if (one) await store.settle.settle(one.subject, 'claim', one.token, 'failed', null, '')
    },
    snooze: async (pick) => {
      const [one] = held.splice(pick % Math.max(1, held.length), 1)
      if (one) await store.claims.snooze(one, pick % 2 ? 0 : 60_000, 'delayed', [])
    },
    wake: () => store.window.wake(),
    cancel: async (pick) => {
      const one = pickOf(made, pick)
      if (one) await store.jobs.cancel(one.tenant, one.id)
    },
    // Its whole answer comes after all.
    late: async (pick) => {
      const one = pickOf(lost, pick)
      if (one)
        await store.settle.settle(one.subject, 'complete', one.token, 'completed', null, '', { cost: 0.5 })
    },
    remove: async (pick) => {
      const one = pickOf(made, pick)
      if (one) await store.jobs.remove(one.tenant, one.id)
    },
    forget: async (pick) => {
      const one = pickOf(made, pick)
      if (one) await store.window.forget(one.id, one.tenant, { isDue: true })
    },
    lose,
    limit,
  }
  return { acts, made }
}

const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0)

/** What all of it must agree on at any time. */
async function check(store: TestStore, made: readonly { id: string; tenant: string }[]): Promise<void> {
  const { redis, keys, ids } = store
  const names = ['status', 'tenant', 'owner', 'size', 'reserved', 'held'] as const
  const read = await Promise.all(
    made.map(async ({ id }) => ({ id, fields: await redis.hmget(keys.job(id), ...names) })),
  )
  const jobs = read.flatMap(({ id, fields: [status, tenant, owner, ...figures] }) =>
    status ? [{ id, status, tenant, owner, isLive: LIVE.has(status), figures: figures.map(Number) }] : [],
  )
  const window = new Set(await redis.zrange(keys.window, '0', '-1'))
  const parked = new Set(await redis.zrange(keys.parked, '0', '-1'))
  const tenants: string[] = []
  for (const tenant of TENANTS) {
    const owners: string[] = []
    for (const customer of [null, ...CUSTOMERS]) {
      const isOwner = customer !== null
      const owner = ids.ownerId(tenant, customer)
      const mine = jobs.filter((job) => job.tenant === tenant && (!isOwner || job.owner === owner))
      const live = mine.filter(({ isLive }) => isLive)
      const busy = Number(await redis.hget(keys.busy, isOwner ? `${tenant} ${owner}` : tenant))
      expect(busy).toBe(live.filter(({ id }) => window.has(id)).length)
      const account = parseAccount(
        await redis.get(isOwner ? keys.customerAccount(tenant, owner) : keys.account(tenant)),
      )
      const of = (which: typeof mine, at: number) => sum(which.map(({ figures }) => figures[at] ?? 0))
      expect(account).toMatchObject({
        live: live.length, bytes: of(mine, 0), ended: of(mine, 0) - of(live, 0), reserved: of(live, 1), held: of(live, 2),
      }) // oxfmt-ignore
      const waiting = await redis.zrange(keys.waiting(tenant, owner), '0', '-1')
      if (waiting.length > 0 && (isOwner || customer === null)) owners.push(owner)
      const own = live.filter((job) => job.owner === owner && job.status === 'queued')
      const places = own.filter(({ id }) => !window.has(id) && !parked.has(id))
      expect(waiting.toSorted()).toEqual(places.map(({ id }) => id).toSorted())
    }
    expect((await redis.lrange(keys.owners(tenant), 0, -1)).toSorted()).toEqual(owners.toSorted())
    if (owners.length > 0) tenants.push(tenant)
  }
  expect((await redis.lrange(keys.tenants, 0, -1)).toSorted()).toEqual(tenants)
  expect(await redis.hget(keys.account('*'), 'reserved').then(Number)).toBe(
    sum(jobs.filter(({ isLive }) => isLive).map(({ figures }) => figures[1] ?? 0)),
  )
}

/** No job waits while there is room for it: of its tenant, of its customer, of all. */
async function checkRoom(store: TestStore): Promise<void> {
  const { redis, keys, ids } = store
  for (let fed = await store.window.feed(); fed.length > 0; fed = await store.window.feed())
    store.queued.push(...fed)
  const [total, waiting] = await Promise.all([redis.zcard(keys.window), redis.lrange(keys.tenants, 0, -1)])
  const limitOf = async (...fields: string[]) => {
    const found = await redis.hmget(keys.concurrency, ...fields)
    return Number(found.find((limit) => limit !== null) ?? Infinity)
  }
  const busyOf = async (field: string) => Number(await redis.hget(keys.busy, field))
  for (const tenant of waiting) {
    const busy = await busyOf(tenant)
    const isFull = busy >= SLOTS / 2 && !(waiting.length === 1 && total + 1 <= SLOTS * 0.85)
    if (isFull || busy >= (await limitOf(tenant))) continue
    for (const customer of [null, ...CUSTOMERS]) {
      const owner = ids.ownerId(tenant, customer)
      const hasWaiting = (await redis.exists(keys.waiting(tenant, owner))) === 1
      const field = `${tenant} ${owner}`
      if (hasWaiting) expect(await busyOf(field)).toBeGreaterThanOrEqual(await limitOf(field, `${tenant} *`))
    }
  }
}

/** When all of it was taken away, and the last worker has let go, nothing is left. */
async function empty(store: TestStore, made: readonly { id: string; tenant: string }[]): Promise<void> {
  const { redis, keys } = store
  for (const { id, tenant } of made) await store.jobs.remove(tenant, id)
  for (const id of await redis.zrange(keys.window, '0', '-1')) {
    await redis.zadd(keys.window, 'XX', '0', id)
    await store.settle.free(id, 'cancelled')
  }
  for (const job of await store.window.due(1_000)) await store.window.forget(job.id, job.tenant)
  await check(store, made)
  expect(
    await redis.exists(...made.map(({ id }) => keys.job(id)), keys.busy, keys.window, keys.due, keys.parked),
  ).toBe(0)
}

test('whatever is done and whoever dies, counts and lines say what there is, and nobody waits while there is room', async () => {
  const run = fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async (steps) => {
    const store = testStore()
    try {
      await store.window.beat('w1', SLOTS, 600_000)
      const { acts, made } = actors(store)
      for (const { pick } of steps.slice(0, 6)) await acts.limit(pick)
      for (const [at, { act, pick }] of steps.entries()) {
        await acts[act](pick)
        if (at % 12 === 0) await check(store, made)
        if (at % 12 === 6) await checkRoom(store)
      }
      await checkRoom(store)
      await check(store, made)
      await empty(store, made)
    } finally {
      await store.cleanup()
    }
  })
  await fc.assert(run, { numRuns: Number(process.env['TEST_PROPERTY_RUNS'] ?? 8) })
}, 600_000)
