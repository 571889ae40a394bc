import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import { createEvents } from '../../shared/webhooks/events.ts'
import type { JobInput } from '../../shared/jobs/jobs.ts'
import type { Retention } from '../../shared/schemas/tenant.ts'
import { createTenants } from '../../shared/tenants/tenants.ts'
import { createRetention } from '../../worker/retention.ts'
import { eventually } from '../support/eventually.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

let store: TestStore
let webhooks: TestWebhooks
let chores: ReturnType<typeof createRetention>

beforeEach(() => {
  store = testStore()
  webhooks = testWebhooks(store)
  chores = createRetention({
    ...store,
    tenants: createTenants(store),
    events: createEvents(store),
    deliveries: webhooks.deliveryLog,
  })
})

afterEach(async () => {
  await webhooks.close()
  await store.cleanup()
})

const sweep = () => Promise.all(chores.map((chore) => chore()))
const keeps = (id: string, retention: Retention) => createTenants(store).create(id, { retention })
const ended = async (tenant: string) => parseAccount(await store.redis.get(store.keys.account(tenant))).ended

/** A job that ended with a result of so many bytes. */
async function endedJob(bytes: number, change: Partial<JobInput> = {}): Promise<string> {
  const { claims, settle, sealer, jobs, jobInput, queued } = store
  const input = jobInput(change)
  await jobs.create(input)
  const fed = await eventually('it is fed', () => queued.shift())
  const claimed = await claims.claim(fed)
  if (claimed.kind !== 'claimed') throw new Error(claimed.kind)
  const { subject, token, id } = claimed.claim
  const out = sealer.seal({ tenant: subject.tenant, kind: 'job', id, field: 'out' }, Buffer.alloc(bytes))
  await settle.settle(subject, 'complete', token, 'completed', null, '', { out, statusCode: 200 })
  return id
}

const listed = async (tenant: string) => {
  const page = await store.jobs.list(tenant, { limit: 100, order: 'asc' })
  return page?.jobs.map(({ id }) => id)
}

test('ended results above the bytes of their tenant go, oldest first, and nothing else of anybody', async () => {
  await keeps('acme', { results_bytes: 12_000 })
  await keeps('other', {})
  const waiting = store.jobInput({ delayMs: 60_000 })
  await store.jobs.create(waiting)
  const ids: string[] = []
  for (let count = 0; count < 6; count += 1) ids.push(await endedJob(3_000))
  const others = [await endedJob(8_000, { tenant: 'other' }), await endedJob(8_000, { tenant: 'other' })]
  expect(await ended('acme')).toBeGreaterThan(18_000)
  await sweep()
  expect(await listed('acme')).toEqual([waiting.id, ...ids.slice(3)])
  expect(await listed('other')).toEqual(others)
  expect(await ended('acme')).toBeLessThanOrEqual(12_000)
  expect(await ended('acme')).toBeGreaterThan(9_000)
  await sweep()
  expect(await listed('acme')).toEqual([waiting.id, ...ids.slice(3)])
  await createTenants(store).update('acme', () => ({ retention: { results_bytes: 0 } }))
  await sweep()
  expect(await listed('acme')).toEqual([waiting.id])
  expect(await ended('acme')).toBe(0)
})

test('an end that is still to be told is not forgotten for its bytes', async () => {
  await keeps('acme', { results_bytes: 0 })
  const id = await endedJob(3_000, { webhook: { url: 'https://hooks.example.com/in' } })
  await sweep()
  expect(await listed('acme')).toEqual([id])
  await webhooks.announce(id)
  await sweep()
  expect(await listed('acme')).toEqual([])
})

test('a walk past hundreds of jobs that wait takes more than one round, and gets there', async () => {
  await keeps('acme', { results_bytes: 0 })
  const inputs = Array.from({ length: 450 }, () => store.jobInput({ delayMs: 60_000 }))
  await Promise.all(inputs.map((input) => store.jobs.create(input)))
  await endedJob(3_000)
  for (const left of [1, 1, 0]) {
    await sweep()
    expect((await ended('acme')) > 0 ? 1 : 0).toBe(left)
  }
  expect(await store.redis.zcard(store.keys.index('acme'))).toBe(inputs.length)
})

const count = async (tenant: string) => ({
  events: await store.redis.zcard(store.keys.eventIndex(tenant)),
  deliveries: await store.redis.zcard(store.keys.deliveryIndex(tenant)),
})

test('events and deliveries of a tenant go at the age that it has set, those of others stay', async () => {
  await keeps('acme', { events_seconds: 0, deliveries_seconds: 0 })
  await keeps('other', {})
  const webhook = { url: 'https://hooks.example.com/in' }
  for (const tenant of ['acme', 'other']) await webhooks.announce(await endedJob(10, { tenant, webhook }))
  expect(await count('acme')).toEqual({ events: 1, deliveries: 1 })
  await sweep()
  // One that is still tried stays as long as that takes; its event goes.
  expect(await count('acme')).toEqual({ events: 0, deliveries: 1 })
  expect(await count('other')).toEqual({ events: 1, deliveries: 1 })
})

test('the result of a call that somebody waits for is not forgotten before he can have read it', async () => {
  await keeps('acme', { results_bytes: 0 })
  const id = await endedJob(3_000, { mode: 'sync' })
  await sweep()
  expect(await listed('acme')).toEqual([id])
  await store.redis.hset(store.keys.job(id), 'times', `${Date.now() - 61_000} 0 1 - - -`)
  await sweep()
  await sweep()
  expect(await listed('acme')).toEqual([])
})
