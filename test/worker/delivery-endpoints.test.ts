import { OpenAI } from 'openai'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { eventually, gate } from '../support/eventually.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

const DAY_MS = 86_400_000

let store: TestStore
let receiver: TestReceiver
const closing: { close: () => Promise<void> }[] = []
beforeEach(async () => {
  store = testStore()
  receiver = await startReceiver()
  closing.push({ close: () => store.cleanup() }, receiver)
})
afterEach(async () => {
  for (const opened of closing.splice(0).toReversed()) await opened.close()
})

function running(options: Parameters<typeof testWebhooks>[1] = {}) {
  const webhooks = testWebhooks(store, options)
  closing.push(webhooks, webhooks.startWorker())
  return webhooks
}

async function told(webhooks: TestWebhooks): Promise<(endpointId: string) => string> {
  const jobId = await webhooks.endJob({})
  await webhooks.announce(jobId)
  return (endpointId) => store.ids.deliveryId(store.ids.eventId(jobId, 'job.completed'), endpointId)
}

function ended(webhooks: TestWebhooks, id: string, state: string) {
  return eventually(`it is ${state}`, async () => {
    const delivery = await webhooks.deliveryLog.read('acme', id)
    return delivery?.state === state ? delivery : null
  })
}

const at = (path: string) => receiver.received.filter((one) => one.path === path)
const url = (path: string) => new URL(path, receiver.url).href
const client = new OpenAI({ apiKey: 'unused', baseURL: 'http://127.0.0.1:1' })

test('during a rotation a delivery verifies with the old secret and with the new one, and carries the own headers', async () => {
  const webhooks = running()
  const endpoint = await webhooks.endpoint(url('/a'), {
    headers: { 'X-Route': 'blue', authorization: 'Basic eA==' },
  })
  const rotated = await webhooks.endpoints.rotate('acme', endpoint.id, DAY_MS)
  const idOf = await told(webhooks)
  await ended(webhooks, idOf(endpoint.id), 'delivered')
  const [came] = at('/a')
  if (!came) throw new Error('nothing came')
  expect(came.headers).toMatchObject({ 'x-route': 'blue', authorization: 'Basic eA==' })
  const secrets = [endpoint, rotated].map((one) => one?.secrets[0]?.secret ?? '')
  expect(new Set(secrets).size).toBe(2)
  for (const secret of secrets) {
    expect(await client.webhooks.unwrap(came.text, came.headers, secret)).toMatchObject({
      type: 'job.completed',
    })
  }
  await expect(client.webhooks.unwrap(came.text, came.headers, `whsec_${'QUFB'.repeat(8)}`)).rejects.toThrow()
})

test('a delivery goes where its endpoint is at the time of the try, also when that was changed between two tries', async () => {
  const webhooks = running({ scheduleSeconds: [0, 0.3] })
  receiver.answer(({ path }) => (path === '/old' ? 500 : 200))
  const endpoint = await webhooks.endpoint(url('/old'))
  const idOf = await told(webhooks)
  await eventually('the first try was made', () => at('/old').length === 1)
  await webhooks.endpoints.update('acme', endpoint.id, { url: url('/new') })
  await ended(webhooks, idOf(endpoint.id), 'delivered')
  expect([at('/old').length, at('/new').length]).toEqual([1, 1])
})

test('a receiver that redirects, throttles, hangs, is gone and comes back: each try is in the log, and nothing is lost', async () => {
  const held = gate()
  closing.push({ close: async () => held.open() })
  receiver.answer(async ({ number }) => {
    if (number === 1) return 301
    if (number === 2) return { status: 429, headers: { 'retry-after': '1' } }
    if (number === 3) await held.opened
    return number === 4 ? 410 : 200
  })
  const webhooks = running({ scheduleSeconds: [0, 0.05, 0.6, 0.05, 0.05], timeoutMs: 2_000 })
  const endpoint = await webhooks.endpoint(url('/a'))
  const id = (await told(webhooks))(endpoint.id)
  await ended(webhooks, id, 'gone')
  const isDisabled = async () =>
    (await webhooks.endpoints.read('acme', endpoint.id))?.disabled?.reason === 'gone'
  await eventually('it is disabled', isDisabled)
  await webhooks.endpoints.update('acme', endpoint.id, { isEnabled: true })
  expect(await webhooks.deliveryLog.recover('acme', endpoint.id, 0, Infinity)).toBe(1)
  const delivery = await ended(webhooks, id, 'delivered')
  expect(delivery.attempts.map(({ statusCode, error }) => statusCode ?? error)).toEqual([
    301,
    429,
    expect.stringMatching(/^timeout/),
    410,
    200,
  ])
  const starts = delivery.attempts.map(({ startedMs }) => startedMs)
  // Retry-After was kept: longer than the schedule had it.
  expect((starts[2] ?? 0) - (starts[1] ?? 0)).toBeGreaterThanOrEqual(990)
  expect(receiver.received.map(({ path }) => path)).toEqual(Array(5).fill('/a'))
  expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
})

test('a 410 disables the endpoint: what waits for it ends unsent, and the other endpoints are told', async () => {
  receiver.answer(({ path }) => (path === '/gone' ? 410 : 200))
  const first = testWebhooks(store)
  closing.push(first)
  const gone = await first.endpoint(url('/gone'))
  const other = await first.endpoint(url('/other'))
  const ids: string[] = []
  for (let number = 0; number < 15; number += 1) ids.push((await told(first))(gone.id))
  const webhooks = running()
  await eventually('all have ended', async () => {
    const states = await Promise.all(
      ids.map(async (id) => (await webhooks.deliveryLog.read('acme', id))?.state),
    )
    return !states.includes('pending') && states.includes('gone') && states.includes('disabled')
  })
  expect(at('/gone').length).toBeLessThanOrEqual(10)
  expect((await webhooks.endpoints.read('acme', gone.id))?.disabled?.reason).toBe('gone')
  await webhooks.announce(gone.id)
  const news = await eventually('the other one is told', () =>
    at('/other').find(({ event }) => event.type === 'webhook_endpoint.disabled'),
  )
  expect(news.event.data.id).toBe(gone.id)
  expect((await webhooks.endpoints.read('acme', other.id))?.disabled).toBeNull()
})

test('an endpoint is disabled after days of nothing but failures, and not while something is accepted', async () => {
  const webhooks = running({
    scheduleSeconds: [0, 0.05, 0.05, 0.05, 0.05, 0.05],
    disableMs: 3_000,
    breakerMs: 20,
  })
  receiver.answer(({ path, number }) => (path === '/dead' || number % 3 > 0 ? 500 : 200))
  const dead = await webhooks.endpoint(url('/dead'))
  const flaky = await webhooks.endpoint(url('/flaky'))
  await eventually('it is disabled', async () => {
    await told(webhooks)
    return (await webhooks.endpoints.read('acme', dead.id))?.disabled?.reason === 'failing'
  }, { everyMs: 100 }) // oxfmt-ignore
  expect((await webhooks.endpoints.read('acme', flaky.id))?.disabled).toBeNull()
  const idOf = await told(webhooks)
  expect(await webhooks.deliveryLog.read('acme', idOf(dead.id))).toBeNull()
})

test('deliveries to a disabled or deleted endpoint end without a request, also those between two tries', async () => {
  receiver.answer(() => 500)
  const webhooks = running({ scheduleSeconds: [0, 3] })
  const [disabled, deleted] = [await webhooks.endpoint(url('/a')), await webhooks.endpoint(url('/b'))]
  const idOf = await told(webhooks)
  await eventually('both were tried', () => at('/a').length + at('/b').length === 2)
  await webhooks.endpoints.update('acme', disabled.id, { isEnabled: false })
  await webhooks.endpoints.remove('acme', deleted.id)
  await ended(webhooks, idOf(disabled.id), 'disabled')
  await ended(webhooks, idOf(deleted.id), 'disabled')
  expect(receiver.received).toHaveLength(2)
})

test('what waits for an endpoint that fails is sent at once when that is somewhere else, and ends when it is deleted', async () => {
  receiver.answer(({ path }) => (path === '/new' ? 200 : 500))
  const webhooks = running({ scheduleSeconds: [0, 100], breakerMs: 100_000 })
  const [moved, deleted] = [await webhooks.endpoint(url('/old')), await webhooks.endpoint(url('/old'))]
  const idOfs: ((endpointId: string) => string)[] = []
  for (let number = 0; number < 16; number += 1) idOfs.push(await told(webhooks))
  const statesOf = async (endpointId: string) => {
    const read = idOfs.map((idOf) => webhooks.deliveryLog.read('acme', idOf(endpointId)))
    return (await Promise.all(read)).map((delivery) => [delivery?.state, delivery?.attempts.length].join(' '))
  }
  await eventually('both are closed', async () => {
    const closed = [moved, deleted].map(({ id }) => store.redis.hget(store.keys.target(id), 'closed_until'))
    return !(await Promise.all(closed)).includes(null)
  })
  await eventually('nothing is on its way', async () => {
    const flights = [moved, deleted].map(({ id }) => store.redis.zcard(store.keys.targetFlight(id)))
    return (await Promise.all(flights)).every((count) => count === 0)
  })
  const waiting = (await statesOf(moved.id)).filter((state) => state === 'pending 0').length
  expect(waiting).toBeGreaterThan(0)
  await webhooks.endpoints.update('acme', moved.id, { url: url('/new') })
  await webhooks.endpoints.remove('acme', deleted.id)
  await eventually('what waited was sent', () => at('/new').length === waiting)
  await eventually('what waited has ended', async () => {
    const states = await statesOf(deleted.id)
    return states.every((state) => state.startsWith('disabled'))
  })
})

test('a sample is tried once, before all others and also at a target that fails, and its end is published', async () => {
  receiver.answer(({ event }) => (event.id === 'evt_sample' ? 404 : 500))
  const webhooks = running({ scheduleSeconds: [0, 100] })
  const endpoint = await webhooks.endpoint(url('/a'))
  for (let number = 0; number < 20; number += 1) await told(webhooks)
  await eventually('it is closed', async () => {
    return (await store.redis.hget(store.keys.target(endpoint.id), 'closed_until')) !== null
  })
  const subscriber = store.redis.duplicate()
  closing.push({ close: async () => subscriber.disconnect() })
  const published: string[] = []
  subscriber.on('message', (_, message: string) => published.push(message))
  await subscriber.subscribe(store.keys.settledChannel)
  const body = JSON.stringify({ id: 'evt_sample', type: 'job.completed', data: {} })
  await webhooks.deliveries.create(endpoint.id, {
    isNews: true,
    events: [],
    deliveries: [
      {
        id: 'dlv_sample',
        tenant: 'acme',
        eventId: 'evt_sample',
        type: 'job.completed',
        target: { kind: 'endpoint', id: endpoint.id },
        body,
        isTest: true,
      },
    ],
  })
  await eventually('its end is published', () => published.includes('dlv_sample'))
  const delivery = await webhooks.deliveryLog.read('acme', 'dlv_sample')
  expect(delivery).toMatchObject({ state: 'exhausted', attempts: [{ statusCode: 404 }] })
})
