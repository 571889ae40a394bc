import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSealer } from '../../shared/seal.ts'
import { deriveWebhookSecret } from '../../shared/webhooks/signature.ts'
import { createEndedReader } from '../../shared/webhooks/webhooks.ts'
import { createAnnounce } from '../../worker/announce.ts'
import { createReceivers } from '../../worker/receivers.ts'
import { createLog } from '../../shared/log.ts'
import { testStore, type TestStore } from '../support/store.ts'
import { ID_SECRET, testWebhooks, type TestWebhooks } from '../support/webhooks.ts'

const url = 'https://hook.example/hook'

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

/** What a receiver of this job would get: the event, and what it is sent with. */
async function told(jobId: string, type = 'job.completed') {
  await webhooks.announce(jobId)
  const result = await webhooks.deliveries.claim(webhooks.deliveryId(jobId, type))
  if (result.kind !== 'claimed') return null
  const { event, hook } = webhooks.deliveries.open(result.claim)
  return { event: JSON.parse(event ?? ''), hook, eventId: result.claim.eventId }
}

test("a completed job is told in OpenAI's envelope, without its result unless asked for", async () => {
  const jobId = await webhooks.endJob({ webhook: { url }, metadata: { order: '7' }, customer: 'c1' })
  const got = await told(jobId)
  expect(got?.event).toEqual({
    id: expect.stringMatching(/^evt_[A-Za-z0-9]{22}$/),
    object: 'event',
    created_at: expect.closeTo(Date.now() / 1000, -1),
    type: 'job.completed',
    data: {
      id: jobId,
      object: 'job',
      status: 'completed',
      customer: 'c1',
      metadata: { order: '7' },
      usage: { input_tokens: 1, output_tokens: 2, total_tokens: 3, cached_input_tokens: 0 },
      cost: null,
      result_omitted: true,
    },
  })
  expect(got?.eventId).toBe(got?.event.id)
})

test('a result is sent along when asked for, as the provider gave it', async () => {
  const jobId = await webhooks.endJob(
    { webhook: { url, include_result: true } },
    { body: '{"choices":[{"n":1}]}' },
  )
  expect((await told(jobId))?.event.data).toMatchObject({ result: { choices: [{ n: 1 }] } })
})

test('a result over 256 KB is left out and said to be', async () => {
  const fits = JSON.stringify({ text: 'x'.repeat(256 * 1024 - 11) })
  const included = await webhooks.endJob({ webhook: { url, include_result: true } }, { body: fits })
  expect((await told(included))?.event.data).not.toHaveProperty('result_omitted')
  const body = JSON.stringify({ text: 'x'.repeat(256 * 1024 - 10) })
  const omitted = await webhooks.endJob({ webhook: { url, include_result: true } }, { body })
  const { data } = (await told(omitted))?.event ?? {}
  expect(data).toMatchObject({ result_omitted: true })
  expect(data).not.toHaveProperty('result')
})

test('a failed job is told with its error', async () => {
  const jobId = await webhooks.endJob({ webhook: { url } }, { status: 'failed' })
  const { event } = (await told(jobId, 'job.failed')) ?? {}
  expect(event).toMatchObject({ type: 'job.failed', data: { status: 'failed', error: { code: 'bad' } } })
})

test.each(['cancelled', 'expired'] as const)(
  'a job that is %s before any worker had it is told as well',
  async (status) => {
    const created = await store.jobs.create(store.jobInput({ webhook: { url }, delayMs: 60_000 }))
    const jobId = 'id' in created ? created.id : ''
    await store.settle.free(jobId, status)
    const { event } = (await told(jobId, `job.${status}`)) ?? {}
    expect(event).toMatchObject({ type: `job.${status}`, data: { id: jobId, status } })
    expect(event.data).not.toHaveProperty('result_omitted')
  },
)

test('an end that the client did not ask for is not delivered, and not looked at again', async () => {
  const jobId = await webhooks.endJob({ webhook: { url, events: ['job.failed', 'job.expired'] } })
  expect(await told(jobId)).toBeNull()
  expect(await store.redis.zcard(store.keys.deliveriesDue)).toBe(0)
  expect(await store.redis.zcard(store.keys.announce)).toBe(0)
  expect(await store.redis.hexists(store.keys.job(jobId), 'hook')).toBe(0)
})

test('a job that ended without a webhook, and one that is purged, leave no announcement behind', async () => {
  const without = await webhooks.endJob({})
  const purged = await webhooks.endJob({ webhook: { url } })
  await store.redis.del(store.keys.job(purged))
  await store.redis.zadd(store.keys.announce, 1, without)
  await webhooks.announce(without)
  await webhooks.announce(purged)
  expect(await store.redis.zcard(store.keys.announce)).toBe(0)
  expect(await store.redis.zcard(store.keys.deliveriesDue)).toBe(0)
  expect(await store.redis.exists(store.keys.job(purged))).toBe(0)
})

test('a job that has not ended keeps its webhook when it is announced by mistake', async () => {
  const created = await store.jobs.create(store.jobInput({ webhook: { url } }))
  const jobId = 'id' in created ? created.id : ''
  expect(await createEndedReader(store)(jobId)).toBeNull()
  await webhooks.announce(jobId)
  expect(await store.redis.hexists(store.keys.job(jobId), 'hook')).toBe(1)
  expect(await store.redis.zcard(store.keys.deliveriesDue)).toBe(0)
})

test('the secret is the given one, else the one of tenant and customer', async () => {
  const given = await webhooks.endJob({ webhook: { url, secret: 'my own' }, customer: 'c1' })
  const derived = await webhooks.endJob({ webhook: { url }, customer: 'c1' })
  expect((await told(given))?.hook?.secret).toBe('my own')
  expect((await told(derived))?.hook?.secret).toBe(deriveWebhookSecret(ID_SECRET, 'acme', 'c1'))
})

test('an end that can not be read here waits for a worker that can, and does not stand before others', async () => {
  const jobId = await webhooks.endJob({ webhook: { url } })
  const { redis, keys, ids } = store
  const sealer = createSealer([{ id: 'other', key: Buffer.alloc(32, 1) }])
  const announce = createAnnounce({
    readEnded: createEndedReader({ redis, keys, sealer }),
    deliveries: webhooks.deliveries,
    receiversOf: createReceivers({ endpoints: webhooks.endpoints, ids, idSecret: ID_SECRET }),
    ids,
    log: createLog('silent', 'test'),
  })
  await announce(jobId)
  expect(Number(await redis.zscore(keys.announce, jobId))).toBeGreaterThan(Date.now() + 30_000)
  expect((await told(jobId))?.event.type).toBe('job.completed')
})

test('a job that is deleted while it is announced leaves no result in a delivery', async () => {
  const receiversOf = createReceivers({ endpoints: webhooks.endpoints, ids: store.ids, idSecret: ID_SECRET })
  const jobId = await webhooks.endJob({ webhook: { url, include_result: true } })
  const announce = createAnnounce({
    readEnded: createEndedReader(store),
    deliveries: webhooks.deliveries,
    receiversOf: async (telling) => {
      const receivers = await receiversOf(telling)
      await store.jobs.remove('acme', jobId)
      return receivers
    },
    ids: store.ids,
    log: createLog('silent', 'test'),
  })
  await announce(jobId)
  expect(await store.redis.exists(store.keys.delivery(webhooks.deliveryId(jobId, 'job.completed')))).toBe(0)
})
