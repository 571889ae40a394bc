import type { OpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import type { Event, WebhookDelivery, WebhookEndpoint } from '../../shared/schemas/webhook.ts'
import { openaiClient } from '../support/clients.ts'
import { dumpRedis } from '../support/dump.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startReceiver, type Received, type TestReceiver } from '../support/receiver.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

/** How many callbacks read their job; the issue's own figure is 10,000. */
const CALLBACKS = Number(process.env['TEST_CALLBACKS'] ?? 100)

useGateway()

let receiver: TestReceiver
let tenant: Tenant
let tenants = 0
beforeAll(async () => {
  receiver = await startReceiver()
})
afterAll(() => receiver.close())
beforeEach(async () => {
  receiver.answer(() => 200)
  tenant = await newTenant()
})

type Tenant = { key: string; client: OpenAI }
type Events = OpenAI.Webhooks.WebhookCreateParams['event_types']

async function newTenant(name = `tenant-${(tenants += 1)}`): Promise<Tenant> {
  const key = await gateway.tenantKey(name)
  return { key, client: openaiClient(`${gateway.url}/v1`, key) }
}

/** Types of ours, which the SDK has no words for. */
const types = (...names: string[]) => names as unknown as Events
/** Addresses that no other test of the file has, and what came there: a delivery may come twice, and late. */
const at = (path: string) => receiver.url.replace('/hook', `/${tenants}${path}`)
const received = () =>
  receiver.received
    .filter(({ path }) => path.startsWith(`/${tenants}/`))
    .map((delivery) => ({ ...delivery, path: delivery.path.slice(`/${tenants}`.length) }))
const config = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })
const submit = (options: object = {}, { key } = tenant) => gateway.submit(ask(config()), options, key)
const call = (method: string, path: string, body?: unknown, { key } = tenant) =>
  gateway.call(method, `/v1/${path}`, { key, body })
const isFrom = (delivery: Received, secret: string) =>
  tenant.client.webhooks.unwrap(delivery.text, delivery.headers, secret)
const verifies = (delivery: Received, secret: string) =>
  isFrom(delivery, secret).then(
    () => true,
    () => false,
  )
const arrives = (count: number) => eventually(`${count} deliveries arrive`, () => received().length >= count)

const load = (count: number) => Promise.all(Array.from({ length: count }, () => submit()))

/** Ends a job, and waits for the delivery that says so. */
async function next(): Promise<Received> {
  const { id: jobId } = await submit()
  return eventually('it arrives', () => received().find(({ event }) => event.data['id'] === jobId))
}

async function deliveriesOf(id: string): Promise<WebhookDelivery[]> {
  const { json } = await call('GET', `webhook_endpoints/${id}/deliveries?limit=100`)
  return (json as { data: WebhookDelivery[] }).data
}

test("OpenAI's SDK manages endpoints: create, retrieve, update, list, test, rotate, unwrap, delete", async () => {
  const { client } = tenant
  const { signing_secret: secret, ...made } = await client.webhooks.create({
    name: 'first',
    url: at('/hook'),
    event_types: ['batch.completed', 'response.completed'],
  })
  const { id } = made
  expect(await client.webhooks.retrieve(id)).toEqual(made)
  expect(await client.webhooks.update(id)).toEqual(made)
  expect(await client.webhooks.update(id, { name: 'second' })).toMatchObject({ id, name: 'second' })
  expect((await client.webhooks.eventTypes.list()).data).toContain('response.incomplete')
  for (let count = 0; count < 2; count += 1) {
    await client.webhooks.create({ name: 'x', url: at('/other'), event_types: ['batch.failed'] })
  }
  const listed: string[] = []
  for await (const one of client.webhooks.list({ limit: 2 })) listed.push(one.id)
  expect(listed).toHaveLength(3)
  expect(listed.at(-1)).toBe(id)
  // What the SDK makes of null, which its types allow.
  expect((await client.webhooks.list({ after: null })).data.map((one) => one.id)).toEqual(listed)

  const tested = await client.webhooks.test(id, { event_type: 'batch.completed' })
  const told = { object: 'webhook_endpoint.test', event_type: 'batch.completed', webhook_endpoint_id: id }
  expect(tested).toEqual({ ...told, status_code: 200, success: true })
  expect(await isFrom(received()[0] as Received, secret)).toMatchObject({ type: 'batch.completed' })

  const rotated = await client.webhooks.rotateSecret(id, { keep_old_secret_active_for_24_hours: true })
  await client.responses.create({
    model: 'mine',
    input: 'hello',
    background: true,
    user_config: ownConfig({ url: provider.url, key: freshKey(), model: 'hosted_vllm/m' }),
  } as OpenAI.Responses.ResponseCreateParamsNonStreaming)
  await arrives(2)
  const delivery = received()[1] as Received
  const event = await isFrom(delivery, rotated.signing_secret)
  expect(await isFrom(delivery, secret)).toEqual(event)
  if (event.type !== 'response.completed') throw new Error(event.type)
  expect((await client.responses.retrieve(event.data.id)).output_text).toBe('ok')

  expect(await client.webhooks.delete(id)).toEqual({ id, object: 'webhook_endpoint.deleted', deleted: true })
  await expect(client.webhooks.retrieve(id)).rejects.toMatchObject({ status: 404 })
})

test('a sample is tried once, and its answer says what the receiver answered, or that it gave none', async () => {
  const { client } = tenant
  const { id } = await client.webhooks.create({ name: 'x', url: at('/hook'), event_types: ['batch.failed'] })
  receiver.answer(() => 503)
  expect(await client.webhooks.test(id, { event_type: 'batch.failed' })).toMatchObject({ status_code: 503 })
  await client.webhooks.update(id, { url: 'http://127.0.0.1:9/nobody' })
  await expect(client.webhooks.test(id, { event_type: 'batch.failed' })).rejects.toMatchObject({
    status: 400,
    code: 'webhook_unreachable',
  })
  expect(received()).toHaveLength(1)
  expect((await deliveriesOf(id)).map(({ attempts }) => attempts.length)).toEqual([1, 1])
  // A sample is nothing that happened.
  expect((await call('GET', 'events')).json).toMatchObject({ data: [] })
})

test('while secrets are rotated under load the old one verifies every delivery, and the new one all that come after', async () => {
  const { client } = tenant
  const { id, signing_secret: old } = await client.webhooks.create({
    name: 'x',
    url: at('/hook'),
    event_types: types('job.completed'),
  })
  const before = load(30)
  const rotated = await client.webhooks.rotateSecret(id, { keep_old_secret_active_for_24_hours: true })
  const current = rotated.signing_secret
  const after = new Set((await load(30)).map((job) => job.id))
  await before
  await arrives(60)
  for (const delivery of received()) {
    expect(await verifies(delivery, old)).toBe(true)
    if (after.has(String(delivery.event.data['id']))) expect(await verifies(delivery, current)).toBe(true)
  }
})

test('a rotated secret verifies nothing any more when its time is over, or at once where it has none', async () => {
  const { client } = tenant
  const { id, signing_secret: first } = await client.webhooks.create({
    name: 'x',
    url: at('/hook'),
    event_types: types('job.completed'),
  })
  const answer = await call('POST', `webhook_endpoints/${id}/rotate_secret`, { overlap_seconds: 1 })
  const { signing_secret: second } = answer.json as { signing_secret: string }
  const late = await eventually('the first is void', async () => {
    const delivery = await next()
    return (await verifies(delivery, first)) ? null : delivery
  })
  expect(await verifies(late, second)).toBe(true)
  const { signing_secret: third } = await client.webhooks.rotateSecret(id)
  const last = await next()
  expect([await verifies(last, second), await verifies(last, third)]).toEqual([false, true])
})

test(
  `a handler that reads the job always finds how it ended: ${CALLBACKS} callbacks`,
  async () => {
    await tenant.client.webhooks.create({ name: 'x', url: at('/hook'), event_types: types('job.completed') })
    const seen: Job[] = []
    receiver.answer(async ({ event }) => {
      seen.push(await gateway.job(String(event.data['id']), tenant.key))
      return 200
    })
    const submitted = new Set<string>()
    for (let left = CALLBACKS; left > 0; left -= 50) {
      const some = await Promise.all(Array.from({ length: Math.min(50, left) }, () => submit()))
      for (const { id } of some) submitted.add(id)
    }
    const ids = () => new Set(seen.map(({ id }) => id))
    await eventually('every handler is done', () => ids().size >= CALLBACKS, {
      timeoutMs: 200 * CALLBACKS + 120_000,
    })
    expect(ids()).toEqual(submitted)
    expect(new Set(seen.map(({ status }) => status))).toEqual(new Set(['completed']))
    expect(seen.every(({ response }) => response?.status_code === 200)).toBe(true)
  },
  200 * CALLBACKS + 300_000,
)

test('each endpoint hears what it asked for: its types, its customer, its tenant, and no other', async () => {
  const other = await newTenant('another')
  const make = async (path: string, body: object, of = tenant) => {
    const answer = await call('POST', 'webhook_endpoints', { name: 'x', url: at(path), ...body }, of)
    expect(answer.status, answer.text).toBe(200)
    return (answer.json as WebhookEndpoint).id
  }
  const ends = ['job.completed', 'job.failed', 'batch.completed']
  await make('/all', { event_types: ends, headers: { authorization: 'Bearer of-mine' } })
  await make('/ann', { event_types: ends, customer: 'ann' })
  await make('/failed', { event_types: ['job.failed'] })
  const named = await make('/named', { event_types: ends })
  await make('/other', { event_types: ends }, other)
  const own = await submit({ customer: 'ann' })
  const theirs = await submit({}, other)
  const alone = await submit({ customer: 'bob', webhook_endpoint_ids: [named] })
  const silent = await submit({ webhook_endpoint_ids: [] })
  const batch = await call('POST', 'batches', {
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
    requests: [{ custom_id: 'a', body: ask(config()) }],
  })
  expect(batch.status, batch.text).toBe(200)
  await Promise.all([own, alone, silent].map(({ id }) => gateway.ended(id, { key: tenant.key })))
  await arrives(7)
  const got = received().map(({ path, event }) => `${path} ${String(event.data['id'])}`)
  const batchId = (batch.json as { id: string }).id
  expect(got.toSorted()).toEqual(
    [
      ...['/all', '/ann', '/named'].map((path) => `${path} ${own.id}`),
      `/named ${alone.id}`,
      `/other ${theirs.id}`,
      ...['/all', '/named'].map((path) => `${path} ${batchId}`),
    ].toSorted(),
  )
  expect(received().find(({ path }) => path === '/all')?.headers.authorization).toBe('Bearer of-mine')
  expect(received().find(({ path }) => path === '/ann')?.headers.authorization).toBeUndefined()
  const { json } = await call('GET', 'events', undefined, other)
  expect((json as { data: Event[] }).data.map(({ data }) => data.id)).toEqual([theirs.id])

  // What is mine can't be told from what is not there.
  const [mine] = await deliveriesOf(named)
  const asked = [
    ['GET', 'events/', mine?.event_id, 'evt_0123456789abcdefghijkl'],
    ['GET', 'webhook_deliveries/', mine?.id, 'dlv_0123456789abcdefghijkl'],
    ['POST', 'webhook_deliveries/', `${mine?.id}/redeliver`, 'dlv_0123456789abcdefghijkl/redeliver'],
  ] as const
  for (const [method, path, id, unknown] of asked) {
    const hidden = await call(method, `${path}${id}`, undefined, other)
    expect(hidden).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } })
    expect(hidden.text).toBe((await call(method, `${path}${unknown}`, undefined, other)).text)
    const shown = await call(method, `${path}${id}`)
    expect([200, 202]).toContain(shown.status)
  }
  const filtered = await call('GET', `webhook_deliveries?subject=${mine?.subject}`, undefined, other)
  expect(filtered.json).toMatchObject({ data: [] })
})

/** Makes an endpoint of this test's. */
const make = async (body: object = {}) => {
  const given = { name: 'x', url: at('/hook'), event_types: ['job.completed'], ...body }
  return ((await call('POST', 'webhook_endpoints', given)).json as WebhookEndpoint).id
}
const states = async (id: string) => (await deliveriesOf(id)).map(({ status }) => status)

describe('an endpoint that does not take its deliveries', () => {
  test('is sent again what it missed, under the same ids: one delivery, or all of a time', async () => {
    receiver.answer(() => 500)
    const id = await make()
    const jobs = [await submit(), await submit()]
    await eventually('all tries are made', async () => (await states(id)).join() === 'exhausted,exhausted')
    const [delivery] = await deliveriesOf(id)
    expect(delivery?.attempts.map((attempt) => attempt.status_code)).toEqual([500, 500, 500, 500])
    const before = received().length
    receiver.answer(() => 200)
    const again = await call('POST', `webhook_deliveries/${delivery?.id}/redeliver`)
    expect(again, again.text).toMatchObject({ status: 202, json: { id: delivery?.id } })
    await arrives(before + 1)
    const recovered = await call('POST', `webhook_endpoints/${id}/recover`, { since: 0 })
    expect(recovered.json).toMatchObject({ redelivered: 1 })
    await eventually('both are taken', async () => (await states(id)).join() === 'delivered,delivered')
    const ids = received()
      .slice(before)
      .map(({ event }) => event.data['id'])
    expect(new Set(ids)).toEqual(new Set(jobs.map((job) => job.id)))
    expect(new Set(received().map(({ headers }) => headers['webhook-id'])).size).toBe(2)
    const read = await call('GET', `webhook_deliveries/${delivery?.id}`)
    expect(read.json).toMatchObject({ status: 'delivered', webhook_endpoint_id: id })

    // What can't be sent again stays what it was.
    await call('POST', `webhook_endpoints/${id}`, { enabled: false })
    const refused = await call('POST', `webhook_deliveries/${delivery?.id}/redeliver`)
    expect(refused).toMatchObject({ status: 409, json: { error: { code: 'webhook_endpoint_disabled' } } })
    await call('DELETE', `webhook_endpoints/${id}`)
    expect((await call('POST', `webhook_deliveries/${delivery?.id}/redeliver`)).status).toBe(404)
    expect((await call('GET', `webhook_deliveries/${delivery?.id}`)).json).toEqual(read.json)
  })

  test('is disabled by a 410, which the others are told; enabled again, it is sent what comes then', async () => {
    receiver.answer(({ path }) => (path.endsWith('/hook') ? 410 : 200))
    await make({ url: at('/watch'), event_types: ['webhook_endpoint.disabled'] })
    const id = await make()
    await submit()
    await eventually('it is told that it was disabled', () =>
      received().some(({ path }) => path === '/watch'),
    )
    const told = received().find(({ path }) => path === '/watch')
    expect(told?.event).toMatchObject({
      type: 'webhook_endpoint.disabled',
      data: { id, disabled_reason: 'gone' },
    })
    const shown = await call('GET', `webhook_endpoints/${id}`)
    expect(shown.json).toMatchObject({ enabled: false, disabled_reason: 'gone' })
    expect(await states(id)).toEqual(['gone'])
    const quiet = await submit()
    await gateway.ended(quiet.id, { key: tenant.key })
    await eventually('it was settled who is told of that', async () => {
      return (await gateway.redis.zscore(gateway.keys.announce, quiet.id)) === null
    })
    receiver.answer(() => 200)
    await call('POST', `webhook_endpoints/${id}`, { enabled: true })
    const loud = await submit()
    await eventually('it is sent to again', () =>
      received().some(({ event }) => event.data['id'] === loud.id),
    )
    expect(received().map(({ event }) => event.data['id'])).not.toContain(quiet.id)
  })

  test('is sent nothing more once it is deleted or disabled by hand, with tries still to come', async () => {
    const held = gate()
    receiver.answer(async () => {
      await held.opened
      return 500
    })
    const [deleted, disabled] = [await make(), await make()]
    const job = await submit()
    await arrives(2)
    await call('DELETE', `webhook_endpoints/${deleted}`)
    await call('POST', `webhook_endpoints/${disabled}`, { enabled: false })
    held.open()
    const subject = `webhook_deliveries?subject=${job.id}`
    const left = await eventually('both have ended', async () => {
      const { data } = (await call('GET', subject)).json as { data: WebhookDelivery[] }
      return data.every(({ status }) => status === 'disabled') && data
    })
    expect(left).toHaveLength(2)
    expect(received()).toHaveLength(2)
  })
})

test('no secret of an endpoint lies in Redis as it is, in a log, or in an answer after the first', async () => {
  const url = at('/hook?token=5d1f-of-the-url')
  const body = {
    name: 'x',
    url,
    event_types: ['job.completed'],
    headers: { 'x-token': '5d1f-of-the-header' },
  }
  const made = (await call('POST', 'webhook_endpoints', body)).json as { id: string; signing_secret: string }
  await submit()
  await arrives(1)
  await tenant.client.webhooks.test(made.id, { event_type: 'batch.failed' })
  const answers = await Promise.all(
    ['webhook_endpoints', `webhook_endpoints/${made.id}/deliveries`, 'webhook_deliveries', 'events'].map(
      async (path) => (await call('GET', path)).text,
    ),
  )
  const redis = (await dumpRedis(gateway.redis)).toString('latin1')
  expect(redis).toContain(made.id)
  for (const secret of ['5d1f-of-the-header', made.signing_secret.slice(6, -4)]) {
    expect([redis, gateway.logs(), ...answers].filter((text) => text.includes(secret))).toEqual([])
  }
  expect([redis, gateway.logs()].filter((text) => text.includes('5d1f-of-the-url'))).toEqual([])
})
