import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeliveryClaim, DeliveryOutcome } from '../../shared/webhooks/deliveries.ts'
import { atUrl, numbered } from '../support/deliveries.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

const URL = 'https://hook.example/'

let store: TestStore
let webhooks: TestWebhooks
beforeEach(() => {
  store = testStore()
  webhooks = testWebhooks(store)
})
afterEach(async () => {
  await webhooks.close()
  await store.cleanup()
})

async function claimed(id: string): Promise<DeliveryClaim> {
  const result = await webhooks.deliveries.claim(id)
  if (result.kind !== 'claimed') throw new Error(`${id} is ${result.kind}`)
  return result.claim
}

/** One try that was answered so. */
async function tried(id: string, statusCode: number, outcome: DeliveryOutcome): Promise<void> {
  const claim = await claimed(id)
  const attempt = {
    number: claim.number,
    startedMs: claim.startedMs,
    durationMs: 12,
    statusCode,
    error: null,
  }
  const is = statusCode === 200 ? ('accepted' as const) : ('failed' as const)
  await webhooks.deliveries.finish(claim, attempt, outcome, { is, restMs: 0 })
}

/** The end of a job, told to an endpoint. */
async function told(endpointId: string, resultTtlMs = 0): Promise<{ id: string; jobId: string }> {
  const jobId = await webhooks.endJob({ resultTtlMs })
  await webhooks.announce(jobId)
  return { jobId, id: store.ids.deliveryId(store.ids.eventId(jobId, 'job.completed'), endpointId) }
}

const log = () => webhooks.deliveryLog
const states = async (ids: readonly string[]) =>
  Promise.all(ids.map(async (id) => (await log().read('acme', id))?.state))

test('a delivery is read with each of its tries: when, how it was answered, how long that took, and no more', async () => {
  const endpoint = await webhooks.endpoint(URL)
  const { id, jobId } = await told(endpoint.id)
  await tried(id, 503, { state: 'pending', waitMs: 0 })
  await tried(id, 200, { state: 'delivered' })
  const tries = { startedMs: expect.closeTo(Date.now(), -4), durationMs: 12, error: null }
  expect(await log().read('acme', id)).toEqual({
    id,
    tenant: 'acme',
    subjectId: jobId,
    eventId: store.ids.eventId(jobId, 'job.completed'),
    type: 'job.completed',
    endpointId: endpoint.id,
    state: 'delivered',
    createdMs: expect.closeTo(Date.now(), -4),
    nextAttemptMs: null,
    attempts: [
      { number: 1, statusCode: 503, ...tries },
      { number: 2, statusCode: 200, ...tries },
    ],
  })
  expect(await log().read('other', id)).toBeNull()
  expect(await log().read('acme', 'dlv_unknown')).toBeNull()
})

/** A page, by its ids. */
const found = async (
  filter: Partial<Parameters<TestWebhooks['deliveryLog']['list']>[1]>,
  tenant = 'acme',
) => {
  const page = await log().list(tenant, { limit: 10, ...filter })
  return page && { ids: page.deliveries.map(({ id }) => id), hasMore: page.hasMore }
}

test('deliveries are listed newest first, page by page, by endpoint, subject and state, and for their tenant only', async () => {
  const [one, two] = [await webhooks.endpoint(URL), await webhooks.endpoint(URL)]
  const made: { id: string; jobId: string }[] = []
  for (let number = 0; number < 3; number += 1) made.unshift(await told(one.id))
  const ids = made.map(({ id }) => id)
  expect(await found({ endpointId: one.id })).toEqual({ ids, hasMore: false })
  expect(await found({ endpointId: one.id, limit: 2 })).toEqual({ ids: ids.slice(0, 2), hasMore: true })
  const rest = await found({ endpointId: one.id, limit: 2, after: ids[1] ?? '' })
  expect(rest).toEqual({ ids: ids.slice(2), hasMore: false })
  expect((await found({}))?.ids).toHaveLength(6)
  expect((await found({ subject: made[0]?.jobId ?? '', endpointId: two.id }))?.ids).toHaveLength(1)
  await tried(ids[1] ?? '', 200, { state: 'delivered' })
  expect((await found({ state: 'delivered' }))?.ids).toEqual([ids[1]])
  expect(await found({}, 'other')).toEqual({ ids: [], hasMore: false })
  expect(await found({ endpointId: one.id }, 'other')).toEqual({ ids: [], hasMore: false })
  expect(await found({ after: 'dlv_unknown' })).toBeNull()
})

test('a delivery that is sent again has the whole schedule anew under the same event id, and keeps its tries', async () => {
  const { id } = await told((await webhooks.endpoint(URL)).id)
  await tried(id, 500, { state: 'exhausted' })
  const eventId = (await log().read('acme', id))?.eventId
  expect(await log().redeliver('acme', id)).toMatchObject({ kind: 'pending', delivery: { state: 'pending' } })
  const claim = await claimed(id)
  expect(claim).toMatchObject({ eventId, number: 2, numberOfRound: 1 })
  expect(webhooks.deliveries.open(claim).event).toContain(eventId)
})

test('of a delivery that was sent again and again the newest fifty tries are kept', async () => {
  const { id } = await told((await webhooks.endpoint(URL)).id)
  for (let number = 1; number <= 53; number += 1) {
    if (number > 1) await log().redeliver('acme', id)
    await tried(id, 200, { state: 'delivered' })
  }
  const numbers = (await log().read('acme', id))?.attempts.map(({ number }) => number)
  expect(numbers).toEqual(Array.from({ length: 50 }, (_, index) => index + 4))
  expect(await store.redis.hexists(store.keys.delivery(id), 'a3')).toBe(0)
})

test('a delivery that was accepted can be sent again, one that carried a result can not, nor one of another tenant', async () => {
  const { id } = await told((await webhooks.endpoint(URL)).id)
  await tried(id, 200, { state: 'delivered' })
  expect(await log().redeliver('other', id)).toEqual({ kind: 'unknown' })
  expect(await log().redeliver('acme', 'dlv_unknown')).toEqual({ kind: 'unknown' })
  expect((await log().redeliver('acme', id)).kind).toBe('pending')
  const jobId = await webhooks.endJob({ webhook: { url: URL, include_result: true } })
  await webhooks.announce(jobId)
  await tried(webhooks.deliveryId(jobId), 200, { state: 'delivered' })
  expect(await log().redeliver('acme', webhooks.deliveryId(jobId))).toEqual({ kind: 'erased' })
})

test('a delivery whose event is not kept any more can not be sent again', async () => {
  const { id, jobId } = await told((await webhooks.endpoint(URL)).id)
  await tried(id, 500, { state: 'exhausted' })
  await store.redis.del(store.keys.event(store.ids.eventId(jobId, 'job.completed')))
  expect(await log().redeliver('acme', id)).toEqual({ kind: 'erased' })
})

test('one that waits for its next try, or behind others at a target that fails, is tried at once when asked for', async () => {
  const many = numbered(store, webhooks, () => atUrl(URL))
  await many.make(30)
  for (let number = 0; number < 10; number += 1) {
    const id = await anyInFlight()
    if (id) await tried(id, 500, { state: 'pending', waitMs: 100_000 })
  }
  const waiting = many.idOf(29)
  expect(await webhooks.deliveries.claim(waiting)).toEqual({ kind: 'early' })
  await log().redeliver('acme', waiting)
  expect((await webhooks.deliveries.claim(waiting)).kind).toBe('claimed')
  // Once more changes nothing of one that is on its way.
  expect((await log().redeliver('acme', waiting)).kind).toBe('pending')
  expect(await webhooks.deliveries.claim(waiting)).toEqual({ kind: 'early' })
})

test('the result of a job that is gone is not kept anew because its webhook is sent again', async () => {
  const { id, jobId } = await told((await webhooks.endpoint(URL)).id)
  await tried(id, 200, { state: 'delivered' })
  const expires = await store.redis.hget(store.keys.job(jobId), 'expires')
  await log().redeliver('acme', id)
  await tried(id, 500, { state: 'pending', waitMs: 1_000_000 })
  expect(await store.redis.hget(store.keys.job(jobId), 'expires')).toBe(expires)
})

test('recover sends again what was not delivered in a time, oldest first, to this endpoint only', async () => {
  const endpoint = await webhooks.endpoint(URL)
  const other = await webhooks.endpoint(`${URL}other`)
  const many = numbered(store, webhooks, (number) => ({
    kind: 'endpoint',
    id: number === 5 ? other.id : endpoint.id,
  }))
  await many.make(6)
  const ids = Array.from({ length: 6 }, (_, number) => many.idOf(number))
  await tried(ids[0] ?? '', 200, { state: 'delivered' })
  for (const id of ids.slice(1)) await tried(id, 500, { state: 'exhausted' })
  const nowMs = Date.now()
  expect(await log().recover('other', endpoint.id, 0, nowMs + 1_000)).toBe(0)
  expect(await log().recover('acme', endpoint.id, 0, nowMs - 60_000)).toBe(0)
  expect(await log().recover('acme', endpoint.id, nowMs - 60_000, nowMs + 1_000)).toBe(4)
  expect(await states(ids)).toEqual(['delivered', 'pending', 'pending', 'pending', 'pending', 'exhausted'])
  // It starts anew: what failed before does not keep it closed.
  expect(await store.redis.hget(store.keys.target(endpoint.id), 'failures')).toBeNull()
})

test("what has ended is forgotten by age, what goes on is not, nor another tenant's", async () => {
  const many = numbered(store, webhooks, () => atUrl(URL))
  const others = numbered(store, webhooks, () => atUrl(URL), { tenant: 'other' })
  await many.make(3)
  await others.make(1)
  await tried(many.idOf(1), 200, { state: 'delivered' })
  await tried(others.idOf(0), 200, { state: 'delivered' })
  expect(await log().trim('acme', Date.now() - 60_000)).toBe(0)
  expect(await log().trim('acme', Date.now() + 1_000)).toBe(1)
  expect(await states([0, 1, 2].map(many.idOf))).toEqual(['pending', undefined, 'pending'])
  expect((await log().read('other', others.idOf(0)))?.state).toBe('delivered')
})

test('a delivery that never came to its last try is given up in the end, unless it is just being tried', async () => {
  const many = numbered(store, webhooks, () => atUrl(URL))
  await many.make(11)
  const running = await anyInFlight()
  const ids = Array.from({ length: 11 }, (_, number) => many.idOf(number))
  const waits = await Promise.all(ids.map(async (id) => (await webhooks.deliveries.claim(id)).kind))
  const waiting = ids[waits.indexOf('early')] ?? ''
  for (const id of [running ?? '', waiting]) await store.redis.zadd(store.keys.deliveriesDue, 1, id)
  await webhooks.deliveries.forgetDue()
  expect(await states([running ?? '', waiting])).toEqual(['pending', 'exhausted'])
})

/** The id of a delivery that is on its way and was not taken yet. */
async function anyInFlight(): Promise<string | undefined> {
  const [target = ''] = await store.redis.zrange(store.keys.targetsDue, '0', '-1')
  return (await store.redis.zrange(store.keys.targetFlight(target), '0', '0'))[0]
}
