import { afterEach, beforeEach, expect, test } from 'vitest'
import { createEvents } from '../../shared/webhooks/events.ts'
import type { EventType } from '../../shared/schemas/webhook.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

const own = 'https://hook.example/own'

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

type Change = { tenant?: string; customer?: string | null; isEnabled?: boolean }

async function endpoint(eventTypes: EventType[], { tenant = 'acme', ...change }: Change = {}) {
  const settings = {
    name: 'x',
    url: 'https://hook.example/',
    eventTypes,
    customer: null,
    metadata: {},
    headers: {},
  }
  return (await webhooks.endpoints.create(tenant, { ...settings, isEnabled: true, ...change })).id
}

/** What was made for whom: `type receiver`, sorted. */
async function made(tenant = 'acme') {
  const page = await webhooks.deliveryLog.list(tenant, { limit: 100 })
  return (page?.deliveries ?? []).map(({ type, endpointId }) => `${type} ${endpointId ?? 'own'}`).toSorted()
}

const events = () => createEvents(store).list('acme', { limit: 100 })

test('an end goes to every enabled endpoint of its tenant that names it, for all customers or for its own', async () => {
  const all = await endpoint(['job.completed', 'job.failed'])
  const ofAnn = await endpoint(['job.completed'], { customer: 'ann' })
  await endpoint(['job.failed', 'batch.completed'])
  await endpoint(['job.completed'], { customer: 'bob' })
  await endpoint(['job.completed'], { isEnabled: false })
  await endpoint(['job.completed'], { tenant: 'other' })
  const id = await webhooks.endJob({ customer: 'ann' })
  await webhooks.announce(id)
  expect(await made()).toEqual([`job.completed ${all}`, `job.completed ${ofAnn}`].toSorted())
  expect(await made('other')).toEqual([])
})

test('an end without a customer is not told to the endpoint of one', async () => {
  await endpoint(['job.completed'], { customer: 'ann' })
  await webhooks.announce(await webhooks.endJob({}))
  expect(await made()).toEqual([])
  expect((await events())?.events).toEqual([])
})

test('only the named endpoints are told, none where none is named, and one that is gone since is left out', async () => {
  const [first, second] = [await endpoint(['job.completed']), await endpoint(['job.completed'])]
  const some = await webhooks.endJob({ webhookEndpointIds: [second, 'whe_gone'] })
  const none = await webhooks.endJob({ webhookEndpointIds: [], webhook: { url: own } })
  await webhooks.announce(some)
  await webhooks.announce(none)
  expect(await made()).toEqual([`job.completed ${second}`, 'job.completed own'].toSorted())
  expect(await made()).not.toContain(`job.completed ${first}`)
})

test('a call that waited for its answer is told to its own webhook alone', async () => {
  await endpoint(['job.completed'])
  const quiet = await webhooks.endJob({ mode: 'sync' })
  expect(await store.redis.zscore(store.keys.announce, quiet)).toBeNull()
  await webhooks.announce(await webhooks.endJob({ mode: 'sync', webhook: { url: own } }))
  expect(await made()).toEqual(['job.completed own'])
})

test('an end that is announced over and over makes the same events and deliveries once', async () => {
  await endpoint(['job.completed'])
  await endpoint(['response.completed'])
  const id = await webhooks.endJob({ endpoint: '/v1/responses', webhook: { url: own } })
  await Promise.all([webhooks.announce(id), webhooks.announce(id), webhooks.announce(id)])
  const before = [await made(), await events()]
  // What a worker does that died between its end and its announcement.
  await store.redis.zadd(store.keys.announce, 1, id)
  await webhooks.announce(id)
  expect([await made(), await events()]).toEqual(before)
  expect(await made()).toHaveLength(3)
})

test.each([
  ['completed', '{"status":"completed"}', 'response.completed'],
  ['completed', '{"status":"incomplete"}', 'response.incomplete'],
  ['completed', '{"status":"failed"}', 'response.failed'],
  ['failed', '{"error":{}}', 'response.failed'],
] as const)('a background response whose job is %s with %s is told as %s', async (status, body, type) => {
  await endpoint(['response.completed', 'response.failed', 'response.cancelled', 'response.incomplete'])
  const id = await webhooks.endJob({ endpoint: '/v1/responses' }, { status, body })
  await webhooks.announce(id)
  const [event, ...others] = (await events())?.events ?? []
  expect(others).toEqual([])
  const responseId = id.replace('job_', 'resp_')
  const data = { id: responseId, object: 'response', status: type.slice('response.'.length), job: id }
  expect(event).toMatchObject({ object: 'event', type, data })
})

test.each([
  ['cancelled', 'response.cancelled'],
  ['expired', 'response.failed'],
] as const)('a background response that is %s before it ran is told as %s', async (status, type) => {
  await endpoint([type])
  const created = await store.jobs.create(store.jobInput({ endpoint: '/v1/responses', delayMs: 60_000 }))
  const id = 'id' in created ? created.id : ''
  await store.settle.free(id, status)
  await webhooks.announce(id)
  expect((await events())?.events.map((event) => event.type)).toEqual([type])
})

test("a job's own webhook hears of a response only when it names that", async () => {
  const unnamed = { endpoint: '/v1/responses', webhook: { url: own } }
  await webhooks.announce(await webhooks.endJob(unnamed))
  expect(await made()).toEqual(['job.completed own'])
  const named = { ...unnamed, webhook: { url: own, events: ['response.completed' as const] } }
  await webhooks.announce(await webhooks.endJob(named))
  expect(await made()).toEqual(['job.completed own', 'response.completed own'])
})

test('a result goes only to the own webhook that asked for it, never into the event or to an endpoint', async () => {
  const id = await endpoint(['job.completed'])
  const body = '{"choices":[{"text":"the answer"}]}'
  const jobId = await webhooks.endJob({ webhook: { url: own, include_result: true } }, { body })
  await webhooks.announce(jobId)
  const [event] = (await events())?.events ?? []
  expect(event?.data).toMatchObject({ id: jobId, result_omitted: true })
  expect(JSON.stringify(event)).not.toContain('the answer')
  const eventId = store.ids.eventId(jobId, 'job.completed')
  const texts = await Promise.all(
    ['job', id].map(async (receiver) => {
      const claimed = await webhooks.deliveries.claim(store.ids.deliveryId(eventId, receiver))
      return claimed.kind === 'claimed' ? webhooks.deliveries.open(claimed.claim).event : null
    }),
  )
  expect(texts[0]).toContain('the answer')
  expect(JSON.parse(texts[1] ?? '')).toEqual(event)
})

test('a disabled endpoint is told to the others of its tenant, once, and not to another customer', async () => {
  const type = 'webhook_endpoint.disabled'
  const broken = await endpoint([type, 'job.completed'], { customer: 'ann' })
  const all = await endpoint([type])
  const ofAnn = await endpoint([type], { customer: 'ann' })
  await endpoint([type], { customer: 'bob' })
  await endpoint([type], { tenant: 'other' })
  expect(await webhooks.endpoints.disable(broken, 'failing')).toBe(true)
  expect(await webhooks.endpoints.disable(broken, 'gone')).toBe(false)
  expect(await store.redis.zscore(store.keys.announce, broken)).not.toBeNull()
  await Promise.all([webhooks.announce(broken), webhooks.announce(broken)])
  expect(await made()).toEqual([`${type} ${all}`, `${type} ${ofAnn}`].toSorted())
  const [event] = (await events())?.events ?? []
  const data = { id: broken, object: 'webhook_endpoint', disabled_reason: 'failing', customer: 'ann' }
  expect(event).toMatchObject({ type, data })
})

test('an endpoint that was enabled again before that was announced is no news', async () => {
  const type = 'webhook_endpoint.disabled'
  const broken = await endpoint([type])
  await endpoint([type])
  await webhooks.endpoints.disable(broken, 'gone')
  await webhooks.endpoints.update('acme', broken, { isEnabled: true })
  await webhooks.announce(broken)
  expect(await made()).toEqual([])
  expect(await store.redis.zcard(store.keys.announce)).toBe(0)
})
