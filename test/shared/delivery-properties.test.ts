import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DeliveryClaim, DeliveryOutcome } from '../../shared/webhooks/deliveries.ts'
import { createDeliveries } from '../../shared/webhooks/deliveries.ts'
import { createDeliveryLog } from '../../shared/webhooks/delivery-log.ts'
import type { DeliveryTarget } from '../../shared/webhooks/delivery-record.ts'
import type { SentDelivery } from '../../shared/webhooks/delivery-queue.ts'
import { createWebhookEndpoints } from '../../shared/webhooks/webhook-endpoints.ts'
import { atUrl } from '../support/deliveries.ts'
import { testStore } from '../support/store.ts'

const DAY_MS = 86_400_000
const TIMES = {
  scheduleSeconds: [0, 1],
  timeoutMs: 2_000,
  leaseMs: 60_000,
  lookAgainMs: 60_000,
  breakerMs: 4,
  rampMs: 3,
  retentionMs: DAY_MS,
  eventRetentionMs: DAY_MS,
  jobRetentionMs: DAY_MS,
}
const ENDPOINT = { name: 'all', url: 'https://e.example', eventTypes: ['job.completed' as const], customer: null, metadata: {}, headers: {} } // oxfmt-ignore

const ACTS = ['create', 'claim', 'accept', 'fail', 'later', 'gone', 'feed', 'lose', 'drop', 'stale', 'back', 'rest', 'disable', 'enable', 'remove', 'redeliver', 'recover', 'giveUp', 'forget'] as const // oxfmt-ignore
type Step = { act: (typeof ACTS)[number]; pick: number }
const step: fc.Arbitrary<Step> = fc.record({
  act: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('create' as const, 'feed' as const) },
    { weight: 5, arbitrary: fc.constantFrom('claim' as const, 'accept' as const, 'fail' as const) },
    { weight: 3, arbitrary: fc.constantFrom('lose' as const, 'stale' as const, 'back' as const) },
    { weight: 3, arbitrary: fc.constantFrom(...ACTS) },
  ),
  pick: fc.nat(10_000),
})

function pickOf<T>(all: readonly T[], pick: number): T | undefined {
  return all[pick % all.length]
}

/** Deliveries of one tenant to two URLs and two endpoints, and what workers, tenant and sweeper do with them. */
async function open() {
  const store = testStore()
  const { redis, keys } = store
  const queued: SentDelivery[] = []
  const queue = {
    add: async (sent: readonly SentDelivery[]) => void queued.push(...sent),
    close: async () => {},
  }
  const deps = { ...store, queue, ...TIMES }
  const deliveries = createDeliveries(deps)
  const log = createDeliveryLog(deps)
  const endpoints = createWebhookEndpoints(store)
  const made = await Promise.all([1, 2].map(() => endpoints.create('acme', { ...ENDPOINT, isEnabled: true })))
  const targets: DeliveryTarget[] = [
    atUrl('https://a.example'),
    atUrl('https://b.example'),
    ...made.map(({ id }): DeliveryTarget => ({ kind: 'endpoint', id })),
  ]
  const ids: string[] = []
  const held: DeliveryClaim[] = []
  const lost: DeliveryClaim[] = []
  await redis.hset(keys.job('job_held'), 'status', 'completed', 'expires', Date.now() + DAY_MS)

  const endpointOf = (pick: number) => pickOf(made, pick)?.id ?? ''
  const takeHeld = (pick: number) => held.splice(pick % Math.max(1, held.length), 1)[0]

  async function finish(
    claim: DeliveryClaim | undefined,
    statusCode: number,
    outcome: DeliveryOutcome,
    restMs = 0,
  ) {
    if (!claim) return
    const attempt = {
      number: claim.number,
      startedMs: claim.startedMs,
      durationMs: 1,
      statusCode,
      error: null,
    }
    const is = statusCode === 200 ? ('accepted' as const) : ('failed' as const)
    await deliveries.finish(claim, attempt, outcome, { is, restMs })
  }

  async function claimNext(): Promise<void> {
    const sent = queued.shift()
    const result = sent && (await deliveries.claim(sent.deliveryId))
    if (result?.kind === 'claimed') held.push(result.claim)
  }

  /** As if its lease had run out. */
  async function expire(id: string, target: string): Promise<void> {
    await redis.zadd(keys.targetFlight(target), 'XX', '0', id)
    if (await redis.hexists(keys.delivery(id), 'lease')) await redis.hset(keys.delivery(id), 'lease', 0)
    await redis.zadd(keys.targetsDue, 'XX', '0', target)
  }

  const acts: Record<Step['act'], (pick: number) => Promise<unknown>> = {
    create: async (pick) => {
      const inputs = Array.from({ length: (pick % 5) + 1 }, (_, at) => {
        const eventId = `evt_${ids.length + at}`
        const target = pickOf(targets, pick + (pick % 3) * at) ?? atUrl('')
        const isTest = pick % 7 === 0
        return { id: store.ids.deliveryId(eventId, 'job'), tenant: 'acme', eventId, type: 'job.completed' as const, target, body: '{}', isTest } // oxfmt-ignore
      })
      ids.push(...inputs.map(({ id }) => id))
      const isNews = pick % 2 === 0
      if (!isNews) await redis.zadd(keys.announce, Date.now(), 'job_held')
      await deliveries.create('job_held', { events: [], deliveries: inputs, isNews })
    },
    claim: claimNext,
    accept: (pick) => finish(takeHeld(pick), 200, { state: 'delivered' }),
    fail: (pick) => finish(takeHeld(pick), 500, { state: 'pending', waitMs: pick % 3 }),
    later: (pick) => finish(takeHeld(pick), 500, { state: 'pending', waitMs: 3_600_000 }),
    gone: (pick) => finish(takeHeld(pick), 410, { state: 'gone' }),
    rest: (pick) => finish(takeHeld(pick), 429, { state: 'pending', waitMs: 0 }, 5),
    stale: (pick) => finish(pickOf(lost, pick), pick % 2 ? 200 : 500, pick % 2 ? { state: 'delivered' } : { state: 'exhausted' }), // oxfmt-ignore
    feed: () => deliveries.feedDue(),
    lose: async (pick) => {
      const claim = takeHeld(pick)
      if (!claim) return
      lost.push(claim)
      await expire(claim.id, claim.targetId)
    },
    drop: async () => {
      const sent = queued.pop()
      if (sent) await expire(sent.deliveryId, sent.targetId)
    },
    back: async () => {
      const sent = queued.shift()
      if (sent) await deliveries.putBack(sent, 3)
    },
    disable: async (pick) => {
      await endpoints.disable(endpointOf(pick), 'gone')
      if (pick % 2 === 0) await deliveries.lookAt(endpointOf(pick))
    },
    enable: (pick) => endpoints.update('acme', endpointOf(pick), { isEnabled: true }),
    remove: async (pick) => pick % 5 === 0 && (await endpoints.remove('acme', endpointOf(pick))),
    redeliver: async (pick) => log.redeliver('acme', pickOf(ids, pick) ?? ''),
    recover: (pick) => log.recover('acme', endpointOf(pick), 0, Infinity),
    giveUp: async (pick) => {
      const id = pickOf(ids, pick)
      if (id) await redis.zadd(keys.deliveriesDue, 'XX', '0', id)
      await deliveries.forgetDue()
    },
    forget: () => log.trim('acme', Date.now() - 5),
  }
  return { store, acts, ids, held, queued, deliveries, expire, finish }
}

type Opened = Awaited<ReturnType<typeof open>>

/** What is pending waits or is on its way, nothing else does, and what waits for a look is looked at. */
async function check({ store: { redis, keys }, ids }: Opened): Promise<string[]> {
  const read = await Promise.all(
    ids.map(async (id) => ({ id, fields: await redis.hmget(keys.delivery(id), 'state', 'target', 'holds') })),
  )
  const pending = read.filter(({ fields: [state] }) => state === 'pending')
  const looked = new Set(await redis.zrange(keys.targetsDue, '0', '-1'))
  for (const target of new Set(read.map(({ fields }) => fields[1] ?? ''))) {
    const waiting = await redis.zrange(keys.targetDue(target), '0', '-1')
    const flight = await redis.zrange(keys.targetFlight(target), '0', '-1')
    const mine = pending.filter(({ fields }) => fields[1] === target).map(({ id }) => id)
    expect([...waiting, ...flight].toSorted()).toEqual(mine.toSorted())
    if (mine.length > 0) expect(looked).toContain(target)
    expect(flight.length).toBeLessThanOrEqual(10)
  }
  const holding = pending.filter(({ fields }) => fields[2] === '1').length
  expect(Number(await redis.hget(keys.job('job_held'), 'telling'))).toBe(holding)
  return pending.map(({ id }) => id)
}

/** All that is pending comes through within some rounds, once everything answers and all times have passed. */
async function drain(opened: Opened): Promise<void> {
  const { store, acts, held, queued, deliveries } = opened
  const { redis, keys } = store
  for (let round = 0; round < 400; round += 1) {
    await deliveries.feedDue()
    while (queued.length > 0) await acts.claim(0)
    while (held.length > 0) await acts.accept(0)
    const pending = await check(opened)
    if (pending.length === 0) break
    // What failed for an hour's wait is due now.
    for (const id of pending) {
      const [target] = await redis.hmget(keys.delivery(id), 'target')
      await redis.zadd(keys.targetDue(target ?? ''), 'XX', '0', id)
      await redis.zadd(keys.targetsDue, 'XX', '0', target ?? '')
    }
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
  expect(await check(opened)).toEqual([])
  await deliveries.feedDue()
  expect(await redis.zcard(keys.targetsDue)).toBe(0)
}

test('whatever dies, is disabled or sent again: each pending delivery waits or is on its way, and all of them come through', async () => {
  const run = fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 100 }), async (steps) => {
    const opened = await open()
    try {
      for (const { act, pick } of steps) {
        await opened.acts[act](pick)
        await check(opened)
      }
      await drain(opened)
    } finally {
      await opened.store.cleanup()
    }
  })
  await fc.assert(run, { numRuns: Number(process.env['TEST_PROPERTY_RUNS'] ?? 6) })
}, 600_000)
