import { OpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import type { WebhookDelivery } from '../../shared/schemas/webhook.ts'
import { eventually } from '../support/eventually.ts'
import { completion, failure } from '../support/provider.ts'
import { startReceiver, type Received, type TestReceiver } from '../support/receiver.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

/** Jobs whose webhook all wait for one receiver. */
const STORM = 100

const SECRET = `whsec_${Buffer.from('a secret of 24 bytes ...').toString('base64')}`

let receiver: TestReceiver

useGateway()

beforeAll(async () => {
  receiver = await startReceiver()
})

afterAll(() => receiver?.close())

beforeEach(() => {
  receiver.received.length = 0
  receiver.answer(() => 200)
})

const config = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })
const client = new OpenAI({ apiKey: 'unused', baseURL: 'http://127.0.0.1:9' })
const unwrap = ({ text, headers }: Received, secret: string) => client.webhooks.unwrap(text, headers, secret)
const arrives = (count: number) =>
  eventually(`${count} deliveries arrive`, () => receiver.received.length >= count)

test.each(['completed', 'failed', 'cancelled', 'expired'])(
  'a receiver that reads the job inside its handler always finds it %s, with its result',
  async (status) => {
    const seen: Job[] = []
    receiver.answer(async ({ event }) => {
      seen.push(await gateway.job(String(event.data.id)))
      return 200
    })
    if (status === 'failed') provider.answer(() => failure(400, 'bad_request'))
    if (status === 'cancelled' || status === 'expired') provider.answer(() => ({ kind: 'hang' }))
    const expires = status === 'expired' ? { expires_in: 1 } : {}
    const jobs = await Promise.all(
      Array.from({ length: 10 }, () =>
        gateway.submit(ask(config()), { ...expires, webhook: { url: receiver.url, secret: SECRET } }),
      ),
    )
    if (status === 'cancelled') {
      await eventually('all are called', () => provider.open() === jobs.length)
      await Promise.all(jobs.map(({ id }) => gateway.call('POST', `/v1/jobs/${id}/cancel`)))
    }
    await arrives(jobs.length)
    await eventually('all handlers are done', () => seen.length === jobs.length)
    expect(seen.map((job) => job.status)).toEqual(jobs.map(() => status))
    if (status === 'completed') expect(seen[0]?.response?.body).toEqual(completion('ok').body)
    expect(new Set(receiver.received.map(({ event }) => event.data.id))).toEqual(
      new Set(jobs.map(({ id }) => id)),
    )
    for (const delivery of receiver.received) {
      const event = await unwrap(delivery, SECRET)
      expect(event).toMatchObject({ object: 'event', type: `job.${status}`, data: { object: 'job', status } })
      expect(event.id).toBe(delivery.headers['webhook-id'])
    }
  },
)

async function secretOf(customer: string): Promise<string> {
  const answer = await gateway.call('GET', `/v1/webhook_secret?customer=${customer}`)
  expect(answer.status).toBe(200)
  return (answer.json as { secret: string }).secret
}

test('without a secret of its own a webhook is signed with the one derived for tenant and customer', async () => {
  const [ann, bob] = [await secretOf('ann'), await secretOf('bob')]
  expect(ann).toMatch(/^whsec_/)
  expect(ann).not.toBe(bob)
  expect(await secretOf('ann')).toBe(ann)
  await gateway.submit(ask(config()), { customer: 'ann', webhook: { url: receiver.url } })
  await arrives(1)
  const [delivery] = receiver.received as [Received]
  expect(await unwrap(delivery, ann)).toMatchObject({ type: 'job.completed' })
  await expect(unwrap(delivery, bob)).rejects.toThrow()
  await expect(unwrap({ ...delivery, text: `${delivery.text} ` }, ann)).rejects.toThrow()
})

test('an OpenAI-shaped call takes its webhook in the body field job', async () => {
  const answer = await gateway.call('POST', '/v1/chat/completions', {
    headers: { prefer: 'respond-async' },
    body: { ...ask(config()), job: { webhook: { url: receiver.url, secret: SECRET, include_result: true } } },
  })
  expect(answer.status).toBe(202)
  await arrives(1)
  const event = await unwrap(receiver.received[0] as Received, SECRET)
  expect(JSON.stringify(event)).toContain('"content":"ok"')
  expect(provider.ledger[0]?.body).not.toHaveProperty('job')
})

test('a failed delivery is tried again by the schedule under the same id, with a fresh signature, then never more', async () => {
  receiver.answer(({ number }) => [500, 302, 200][number - 1] ?? 200)
  const { id } = await gateway.submit(ask(config()), { webhook: { url: receiver.url, secret: SECRET } })
  await arrives(3)
  expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  const { json } = await gateway.call('GET', `/v1/webhook_deliveries?subject=${id}`)
  const [told] = (json as { data: WebhookDelivery[] }).data
  const [first = 0, second = 0, third = 0] = told?.attempts.map(({ started_at: at }) => at * 1000) ?? []
  // 0.3 s each, give or take the jitter of a fifth; by the clocks of those who sent them.
  expect(second - first).toBeGreaterThan(220)
  expect(third - second).toBeGreaterThan(220)
  for (const delivery of receiver.received) await unwrap(delivery, SECRET)
  // The redirect was not followed.
  expect(receiver.received.map(({ path }) => path)).toEqual(['/hook', '/hook', '/hook'])
  const next = await gateway.submit(ask(config()), { webhook: { url: receiver.url, secret: SECRET } })
  await arrives(4)
  expect(receiver.received.map(({ event }) => event.data.id)).toEqual([id, id, id, next.id])
})

test('after an outage of a receiver and the death of all workers each event arrives, and ten at most at once', async () => {
  let phase: 'hangs' | 'is down' | 'is back' = 'hangs'
  let [atOnce, mostAtOnce] = [0, 0]
  const accepted: string[] = []
  const never = Promise.withResolvers<void>()
  receiver.answer(async ({ event, path }) => {
    if (path === '/other') return 200
    atOnce += 1
    mostAtOnce = Math.max(mostAtOnce, atOnce)
    if (phase === 'hangs') await never.promise
    // Whoever is told of the end of a job can read how it ended.
    const { status } = await gateway.job(String(event.data['id']))
    atOnce -= 1
    if (phase === 'is down' || status !== 'completed') return 503
    accepted.push(String(event.data['id']))
    return 200
  })
  const own = config()
  const submit = (url = receiver.url) => gateway.submit(ask(own), { webhook: { url } })
  const jobs = await Promise.all(Array.from({ length: STORM }, () => submit()))
  await eventually('deliveries are in flight', () => atOnce > 0)
  await Promise.all(jobs.map(({ id }) => gateway.ended(id)))
  for (const worker of gateway.workers) worker.kill('SIGKILL')
  await Promise.all(gateway.workers.map((worker) => worker.ended()))
  atOnce = 0
  phase = 'is down'
  never.resolve()
  await gateway.addWorker()
  const before = receiver.received.length
  await eventually('it was tried again', () => receiver.received.length > before)

  const other = await submit(receiver.url.replace('/hook', '/other'))
  await eventually(
    'who has nothing to do with it is told at once',
    () => receiver.received.some(({ path, event }) => path === '/other' && event.data['id'] === other.id),
    { timeoutMs: 5_000 },
  )
  expect(accepted).toEqual([])

  phase = 'is back'
  await eventually('all have arrived', () => new Set(accepted).size === STORM)
  expect(new Set(accepted)).toEqual(new Set(jobs.map(({ id }) => id)))
  expect(mostAtOnce).toBeLessThanOrEqual(10)
})

test('only the events that were asked for are sent', async () => {
  const webhook = { url: receiver.url, secret: SECRET, events: ['job.failed'] }
  const quiet = await gateway.submit(ask(config()), { webhook })
  await gateway.ended(quiet.id)
  provider.answer(() => failure(400, 'bad_request'))
  const loud = await gateway.submit(ask(config()), { webhook })
  await arrives(1)
  expect(receiver.received.map(({ event }) => event.data.id)).toEqual([loud.id])
})

test.each([
  ['http://169.254.169.254/latest', 'metadata'],
  ['https://10.1.2.3/hook', 'a private network'],
  ['ftp://example.com/hook', 'another scheme'],
  ['https://user:word@example.com/hook', 'credentials in the address'],
])('a webhook to %s (%s) is a 400 that names it', async (url) => {
  const body = { endpoint: '/v1/chat/completions', body: ask(config()), webhook: { url } }
  const answer = await gateway.call('POST', '/v1/jobs', { body })
  expect(answer).toMatchObject({ status: 400, json: { error: { param: 'webhook.url' } } })
  expect(provider.ledger).toEqual([])
})
