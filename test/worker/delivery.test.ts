import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { OpenAI } from 'openai'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { deriveWebhookSecret } from '../../shared/webhooks/signature.ts'
import { decideNext } from '../../worker/delivery.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startReceiver, type Received, type TestReceiver } from '../support/receiver.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { ID_SECRET, testWebhooks } from '../support/webhooks.ts'

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

/** An outbox with a running worker. */
function running(options: Parameters<typeof testWebhooks>[1] = {}) {
  const webhooks = testWebhooks(store, options)
  const worker = webhooks.startWorker()
  closing.push(webhooks, worker)
  return webhooks
}

type Webhooks = ReturnType<typeof testWebhooks>

async function announced(webhooks: Webhooks, url = receiver.url, secret?: string): Promise<string> {
  const jobId = await webhooks.endJob({ webhook: { url, secret } })
  await webhooks.announce(jobId)
  return jobId
}

function ended(webhooks: Webhooks, jobId: string, state: string) {
  return eventually(`the delivery is ${state}`, async () => {
    const delivery = await webhooks.deliveryLog.read('acme', webhooks.deliveryId(jobId))
    return delivery?.state === state ? delivery : null
  })
}

const client = new OpenAI({ apiKey: 'unused', baseURL: 'http://127.0.0.1:1' })
function unwrap({ text, headers }: Received, secret: string) {
  return client.webhooks.unwrap(text, headers, secret)
}

test("a delivery verifies with the official SDK's unwrap, and not when a byte was changed", async () => {
  const webhooks = running()
  const jobId = await announced(webhooks)
  const [delivery] = await eventually('it came', () => receiver.received.length > 0 && receiver.received)
  const secret = deriveWebhookSecret(ID_SECRET, 'acme', null)
  if (!delivery) throw new Error('nothing came')
  expect(await unwrap(delivery, secret)).toMatchObject({ type: 'job.completed', data: { id: jobId } })
  await expect(unwrap({ ...delivery, text: `${delivery.text} ` }, secret)).rejects.toThrow()
  expect(delivery.headers).toMatchObject({
    'content-type': 'application/json',
    'user-agent': expect.stringContaining('byok-gateway'),
    'webhook-attempt': '1',
  })
})

test("a receiver's own secret signs, whatever its form", async () => {
  const webhooks = running()
  await announced(webhooks, receiver.url, 'geheim-ß')
  const [delivery] = await eventually('it came', () => receiver.received.length > 0 && receiver.received)
  expect(delivery && (await unwrap(delivery, 'geheim-ß'))).toMatchObject({ type: 'job.completed' })
})

test('the job can be read as ended from inside the handler', async () => {
  const statuses: unknown[] = []
  receiver.answer(async ({ event }) => {
    const view = await store.jobs.read('acme', String(event.data.id))
    statuses.push([view?.isTerminal, view?.result?.status])
    return 204
  })
  const webhooks = running()
  const jobIds: string[] = []
  for (let number = 0; number < 20; number++) jobIds.push(await announced(webhooks))
  for (const jobId of jobIds) await ended(webhooks, jobId, 'delivered')
  expect(statuses).toEqual(Array.from({ length: 20 }, () => [true, 200]))
})

test('each retry has the same webhook-id and body, and a timestamp, number and signature of its own', async () => {
  receiver.answer(({ number }) => (number < 3 ? 500 : 200))
  const webhooks = running({ scheduleSeconds: [0, 1.3, 1.3] })
  const jobId = await announced(webhooks)
  const delivery = await ended(webhooks, jobId, 'delivered')
  const { received } = receiver
  const distinct = (name: string) => new Set(received.map(({ headers }) => headers[name])).size
  expect(received).toHaveLength(3)
  expect(new Set(received.map(({ text }) => text)).size).toBe(1)
  expect(distinct('webhook-id')).toBe(1)
  expect(distinct('webhook-timestamp')).toBe(3)
  expect(distinct('webhook-signature')).toBe(3)
  expect(received.map(({ headers }) => headers['webhook-attempt'])).toEqual(['1', '2', '3'])
  expect(delivery.attempts.map(({ number, statusCode }) => [number, statusCode])).toEqual([
    [1, 500],
    [2, 500],
    [3, 200],
  ])
  const secret = deriveWebhookSecret(ID_SECRET, 'acme', null)
  for (const one of received) expect(await unwrap(one, secret)).toMatchObject({ data: { id: jobId } })
})

test.each([301, 302, 307, 308])('a %i is a failure: not followed, and tried again', async (status) => {
  receiver.answer(({ number }) => (number === 1 ? status : 200))
  const webhooks = running()
  await ended(webhooks, await announced(webhooks), 'delivered')
  expect(receiver.received.map(({ path }) => path)).toEqual(['/hook', '/hook'])
})

test('a 410 ends the delivery at once', async () => {
  receiver.answer(() => 410)
  const webhooks = running()
  const delivery = await ended(webhooks, await announced(webhooks), 'gone')
  expect(delivery.attempts).toHaveLength(1)
  expect(await store.redis.zcard(store.keys.targetsDue)).toBe(0)
})

test('after the last try of the schedule a delivery is exhausted, with each try in its list', async () => {
  receiver.answer(() => 503)
  const webhooks = running({ scheduleSeconds: [0, 0.01, 0.01] })
  const delivery = await ended(webhooks, await announced(webhooks), 'exhausted')
  expect(delivery.attempts.map((attempt) => attempt.statusCode)).toEqual([503, 503, 503])
  expect(receiver.received).toHaveLength(3)
})

test('a receiver that does not answer is given up after the timeout and tried again', async () => {
  const held = gate()
  closing.push({ close: async () => held.open() })
  receiver.answer(async ({ number }) => {
    if (number === 1) await held.opened
    return 200
  })
  const webhooks = running({ timeoutMs: 1_500 })
  const delivery = await ended(webhooks, await announced(webhooks), 'delivered')
  expect(delivery.attempts[0]).toMatchObject({
    number: 1,
    statusCode: null,
    error: expect.stringMatching(/^timeout/),
  })
  expect(delivery.attempts).toHaveLength(2)
})

test('a private address that nobody opened is refused: no request reaches it, and the try says why', async () => {
  const webhooks = running({ allowedCidrs: [], scheduleSeconds: [0, 0.01] })
  const delivery = await ended(webhooks, await announced(webhooks), 'exhausted')
  expect(delivery.attempts.map(({ error }) => error)).toEqual(['refused', 'refused'])
  expect(receiver.received).toEqual([])
})

test.each(['http://169.254.169.254/', 'http://[::ffff:10.0.0.1]/', 'http://localhost:1/'])(
  'no socket is opened to %s',
  async (url) => {
    const webhooks = running({ allowedCidrs: [], scheduleSeconds: [0] })
    const delivery = await ended(webhooks, await announced(webhooks, url), 'exhausted')
    expect(delivery.attempts.map(({ error }) => error)).toEqual(['refused'])
  },
)

test('nothing that a receiver answers is kept', async () => {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(500, { 'x-secret': 'canary-header' }).end('canary-body')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push({ close: async () => void server.close() })
  const webhooks = running({ scheduleSeconds: [0, 0.01] })
  const { port } = server.address() as AddressInfo
  const jobId = await announced(webhooks, `http://127.0.0.1:${port}/`)
  await ended(webhooks, jobId, 'exhausted')
  const record = await store.redis.hgetall(store.keys.delivery(webhooks.deliveryId(jobId)))
  expect(JSON.stringify(record)).not.toContain('canary')
})

test('a delivery between two tries is carried on by the process that comes after', async () => {
  receiver.answer(({ number }) => (number === 1 ? 500 : 200))
  const first = testWebhooks(store, { scheduleSeconds: [0, 0.5] })
  const worker = first.startWorker()
  const jobId = await announced(first)
  await eventually('the first try is noted', async () => {
    const delivery = await first.deliveryLog.read('acme', first.deliveryId(jobId))
    return delivery?.attempts[0]?.statusCode === 500
  })
  await worker.close()
  await first.close()
  expect(receiver.received).toHaveLength(1)
  const second = running({ scheduleSeconds: [0, 0.5] })
  const delivery = await ended(second, jobId, 'delivered')
  expect(delivery.attempts.map(({ statusCode }) => statusCode)).toEqual([500, 200])
})

test('a try whose worker dies is made again by another, under the same webhook-id', async () => {
  const dying = testWebhooks(store, { leaseMs: 100, lookAgainMs: 50 })
  closing.push(dying)
  // Its worker takes the delivery, and is never heard of again.
  const worker = dying.startWorker(async ({ deliveryId }) => dying.deliveries.claim(deliveryId))
  const jobId = await announced(dying)
  const started = () => dying.deliveryLog.read('acme', dying.deliveryId(jobId))
  await eventually('it was taken', async () => (await started())?.attempts.length)
  await worker.close()
  const webhooks = running({ scheduleSeconds: [0, 0.03, 0.03] })
  const delivery = await ended(webhooks, jobId, 'delivered')
  expect(delivery.attempts.length).toBeGreaterThan(1)
  expect(receiver.received).toHaveLength(1)
  expect(receiver.received[0]?.headers['webhook-id']).toBe(delivery.eventId)
})

test('a delivery that never outlives its worker is given up after a few tries more than planned', async () => {
  const webhooks = testWebhooks(store, { leaseMs: 1, scheduleSeconds: [0, 0.01] })
  closing.push(webhooks)
  const entry = await webhooks.entryOf(webhooks.deliveryId(await announced(webhooks)))
  const take = async () => (await webhooks.deliveries.claim(entry.deliveryId)).kind === 'claimed'
  for (let lost = 0; lost < 5; lost++) await eventually('it is taken', take)
  await eventually('it is given up', async () => (await webhooks.processor(entry)).state === 'exhausted')
  expect(receiver.received).toEqual([])
})

test('many workers with one delivery send one request', async () => {
  const webhooks = testWebhooks(store)
  closing.push(webhooks)
  const entry = await webhooks.entryOf(webhooks.deliveryId(await announced(webhooks)))
  const results = await Promise.all(Array.from({ length: 8 }, () => webhooks.processor(entry)))
  expect(results.map(({ state }) => state).toSorted()).toEqual(['delivered', ...Array(7).fill('skipped')])
  expect((await webhooks.processor(entry)).state).toBe('skipped')
  expect(receiver.received).toHaveLength(1)
})

test('a webhook leaves at once when the job has ended', async () => {
  const webhooks = running()
  await ended(webhooks, await announced(webhooks), 'delivered')
  const waitsMs: number[] = []
  for (let round = 0; round < 20; round++) {
    const jobId = await webhooks.endJob({ webhook: { url: receiver.url } })
    const endedAt = performance.now()
    await webhooks.announce(jobId)
    const came = await eventually('it came', () =>
      receiver.received.find(({ event }) => event.data.id === jobId),
    )
    waitsMs.push(came.at - endedAt)
  }
  // Nobody sweeps here: half of them being as late as a sweeper's next round would be no accident.
  expect(waitsMs.toSorted((a, b) => a - b)[10]).toBeLessThan(2_000)
})

const random = () => 0.5

test.each([429, 503])(
  'Retry-After of a %i is honoured between one and two times the planned wait',
  (status) => {
    const waits = [0, 7_000, 60_000].map((retryAfterMs) =>
      decideNext({ status, retryAfterMs }, 1, [0, 5], random),
    )
    expect(waits).toEqual([5_000, 7_000, 10_000].map((waitMs) => ({ state: 'pending', waitMs })))
  },
)

test('Retry-After of anything else is not listened to', () => {
  const next = decideNext({ status: 500, retryAfterMs: 9_000 }, 1, [0, 5], random)
  expect(next).toEqual({ state: 'pending', waitMs: 5_000 })
})

test('Retry-After in the answer reaches the schedule', async () => {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(503, { 'retry-after': '150' }).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push({ close: async () => void server.close() })
  const webhooks = running({ scheduleSeconds: [0, 100] })
  const { port } = server.address() as AddressInfo
  const jobId = await announced(webhooks, `http://127.0.0.1:${port}/`)
  const delivery = await eventually('the try is noted', async () => {
    const read = await webhooks.deliveryLog.read('acme', webhooks.deliveryId(jobId))
    return read?.attempts[0]?.statusCode === 503 ? read : null
  })
  expect((delivery.nextAttemptMs ?? 0) - Date.now()).toBeGreaterThan(140_000)
  expect((delivery.nextAttemptMs ?? 0) - Date.now()).toBeLessThanOrEqual(150_000)
})

test('waits are spread by a fifth either way', () => {
  const waits = [0, 0.5, 1].map((value) =>
    decideNext({ status: 500, retryAfterMs: null }, 2, [0, 5, 30], () => value),
  )
  expect(waits).toEqual([24_000, 30_000, 36_000].map((waitMs) => ({ state: 'pending', waitMs })))
})
