import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLog } from '../../shared/log.ts'
import type { BatchWebhook } from '../../shared/schemas/batch.ts'
import type { EventType } from '../../shared/schemas/webhook.ts'
import { deriveWebhookSecret } from '../../shared/webhooks/signature.ts'
import { createBatchHookReader } from '../../shared/webhooks/webhooks.ts'
import { createBatchNews } from '../../worker/batch-news.ts'
import { createReceivers } from '../../worker/receivers.ts'
import { eventually } from '../support/eventually.ts'
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

/** The record of a batch, as the scripts write it. */
async function writeBatch(
  id: string,
  webhook: BatchWebhook | null,
  fields: Record<string, string | number> = {},
  options: { webhookEndpointIds?: string[]; customer?: string } = {},
): Promise<string> {
  const meta = {
    endpoint: '/v1/chat/completions',
    inputFileId: 'file-1',
    completionWindow: '24h',
    metadata: { order: '7' },
    customer: null,
    priority: 'normal',
    concurrency: null,
    maxErrors: null,
    isOrdered: false,
    outputExpiresAfterS: null,
    retryOf: null,
    warnings: [],
    ...options,
  }
  const record = {
    status: 'in_progress',
    tenant: 'acme',
    meta: JSON.stringify(meta),
    created: 1_000_000,
    started: 1_002_000,
    deadline: 9_000_000,
    total: 5,
    completed: 2,
    failed: 1,
    inflight: 2,
    ...fields,
  }
  await store.redis.hset(store.keys.batch(id), record)
  if (webhook) {
    const place = { tenant: 'acme', kind: 'batch' as const, id, field: 'hook' }
    await store.redis.hset(store.keys.batch(id), 'hook', store.sealer.seal(place, JSON.stringify(webhook)))
  }
  return id
}

function makeNews(progressEveryMs?: number) {
  const { redis, keys, ids } = store
  return createBatchNews({
    redis,
    keys,
    readBatch: createBatchHookReader(store),
    deliveries: webhooks.deliveries,
    receiversOf: createReceivers({ endpoints: webhooks.endpoints, ids, idSecret: ID_SECRET }),
    ids,
    log: createLog('silent', 'test'),
    progressEveryMs,
  })
}

/** Every delivery that is due, opened. */
async function told() {
  const ids = await store.redis.zrange(store.keys.deliveriesDue, '0', '-1')
  const claims = await Promise.all(ids.map((id) => webhooks.deliveries.claim(id)))
  return claims.flatMap((result) => {
    if (result.kind !== 'claimed') return []
    const { event, hook } = webhooks.deliveries.open(result.claim)
    return [{ event: JSON.parse(event ?? ''), hook, eventId: result.claim.eventId }]
  })
}

async function endBatch(id: string, status: string): Promise<void> {
  await store.redis.hset(store.keys.batch(id), { status, ended: 1_009_000, output_file: 'file-out' })
  await store.redis.zadd(store.keys.announce, 1, id)
}

test.each(['completed', 'failed', 'expired', 'cancelled'])(
  'a batch that is %s is told once, however often it is announced, and its webhook is erased',
  async (status) => {
    const id = await writeBatch('batch_1', { url })
    await endBatch(id, status)
    await Promise.all([webhooks.announce(id), webhooks.announce(id)])
    await webhooks.announce(id)
    const [first, ...others] = await told()
    expect(others).toEqual([])
    expect(first?.event).toEqual({
      id: first?.eventId,
      object: 'event',
      created_at: 1_009,
      type: `batch.${status}`,
      data: {
        id,
        object: 'batch',
        status,
        metadata: { order: '7' },
        request_counts: { total: 5, completed: 2, failed: 1 },
        progress: { queued: 0, in_progress: 2, parked: 0, completed: 2, failed: 1, expired: 0, cancelled: 0 },
        usage: expect.objectContaining({ total_tokens: 0 }),
        cost: null,
        output_file_id: 'file-out',
        error_file_id: null,
      },
    })
    expect(first?.hook).toEqual({ url, secret: deriveWebhookSecret(ID_SECRET, 'acme', null) })
    expect(await store.redis.hexists(store.keys.batch(id), 'hook')).toBe(0)
    expect(await store.redis.zcard(store.keys.announce)).toBe(0)
  },
)

test('an end of a batch that its webhook did not ask for is dropped', async () => {
  const id = await writeBatch('batch_1', { url, events: ['batch.failed'] })
  await endBatch(id, 'completed')
  await webhooks.announce(id)
  expect(await told()).toEqual([])
  expect(await store.redis.zcard(store.keys.announce)).toBe(0)
})

test('the record of a batch is kept as long as without a delivery, whatever comes of it', async () => {
  const id = await writeBatch('batch_1', { url }, { expires: 77_000 })
  await endBatch(id, 'completed')
  await webhooks.announce(id)
  const [delivery = ''] = await store.redis.zrange(store.keys.deliveriesDue, '0', '-1')
  const claimed = await webhooks.deliveries.claim(delivery)
  if (claimed.kind !== 'claimed') throw new Error(claimed.kind)
  const attempt = { number: 1, startedMs: 1, durationMs: 1, statusCode: 200, error: null }
  const verdict = { is: 'accepted' as const, restMs: 0 }
  await webhooks.deliveries.finish(claimed.claim, attempt, { state: 'delivered' }, verdict)
  expect(await store.redis.hget(store.keys.batch(id), 'expires')).toBe('77000')
  expect(await store.redis.pttl(store.keys.batch(id))).toBe(-1)
  expect(await store.redis.zcard(store.keys.due)).toBe(0)
})

test('the begin of a batch is told once to a webhook that asked for it, and to no other', async () => {
  const asked = await writeBatch('batch_1', { url, secret: 'own', events: ['batch.in_progress'] })
  const unasked = await writeBatch('batch_2', { url })
  const without = await writeBatch('batch_3', null)
  const news = makeNews()
  for (const id of [asked, asked, unasked, without]) news.began(id)
  await news.close()
  const [first, ...others] = await told()
  expect(others).toEqual([])
  expect(first).toMatchObject({
    hook: { url, secret: 'own' },
    event: { type: 'batch.in_progress', created_at: 1_002, data: { id: asked, status: 'in_progress' } },
  })
  expect(await store.redis.hexists(store.keys.batch(asked), 'hook')).toBe(1)
})

test('progress is told at most once in its time over all workers, and again after it', async () => {
  const id = await writeBatch('batch_1', { url, events: ['batch.progress'] })
  const workers = [makeNews(300), makeNews(300)]
  const settle = () => {
    for (const news of workers) for (let count = 0; count < 20; count += 1) news.progressed(id)
  }
  settle()
  await Promise.all(workers.map((news) => news.close()))
  expect(await store.redis.zcard(store.keys.deliveriesDue)).toBe(1)
  await store.redis.hset(store.keys.batch(id), 'completed', 3)
  await eventually('progress is told again', async () => {
    settle()
    return (await store.redis.zcard(store.keys.deliveriesDue)) === 2
  })
  await Promise.all(workers.map((news) => news.close()))
  const counts = (await told()).map(({ event }) => event.data.request_counts.completed)
  expect(new Set(counts)).toEqual(new Set([2, 3]))
})

test('a batch of which nobody wants news is not looked at with each line, and one that has ended tells none', async () => {
  const quiet = await writeBatch('batch_1', { url })
  const ended = await writeBatch('batch_2', { url, events: ['batch.progress'] }, { status: 'completed' })
  const news = makeNews(1)
  news.progressed(quiet)
  news.progressed(ended)
  await news.close()
  const asked = { url, events: ['batch.progress' as const] }
  await writeBatch(quiet, asked)
  news.progressed(quiet)
  await news.close()
  expect(await told()).toEqual([])
})

test('begin, progress and end of a batch go to the endpoints that name them, or to those that the batch names', async () => {
  const eventTypes = ['batch.in_progress', 'batch.progress', 'batch.completed'] as const
  const settings = { name: 'x', url, customer: null, metadata: {}, headers: {}, isEnabled: true }
  const make = async (change: { customer?: string; eventTypes?: EventType[] } = {}) =>
    (await webhooks.endpoints.create('acme', { ...settings, eventTypes: [...eventTypes], ...change })).id
  const [all, ofAnn] = [await make(), await make({ customer: 'ann' })]
  const [onlyEnds] = [await make({ eventTypes: ['batch.completed'] }), await make({ customer: 'bob' })]
  const ofAnnOnly = { customer: 'ann', webhookEndpointIds: [ofAnn] }
  const [open, named] = [await writeBatch('batch_1', null), await writeBatch('batch_2', null, {}, ofAnnOnly)]
  const news = makeNews(1)
  for (const id of [open, named]) {
    news.began(id)
    await news.close()
    await eventually('its progress is told', async () => {
      news.progressed(id)
      await news.close()
      return (await store.redis.exists(store.keys.batchTold(id))) === 1 || (await made(id)).length > 1
    })
    await endBatch(id, 'completed')
    await webhooks.announce(id)
  }
  const each = (id: string) => eventTypes.map((type) => `${type} ${id}`)
  expect(new Set(await made(open))).toEqual(new Set([...each(all), `batch.completed ${onlyEnds}`]))
  expect(new Set(await made(named))).toEqual(new Set(each(ofAnn)))
})

async function made(subject: string): Promise<string[]> {
  const page = await webhooks.deliveryLog.list('acme', { subject, limit: 100 })
  return (page?.deliveries ?? []).map(({ type, endpointId }) => `${type} ${endpointId}`)
}
