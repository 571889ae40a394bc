import { hash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { identifyCall } from '../../api/same-call.ts'
import { createAttended } from '../../shared/jobs/attended.ts'
import { createJobControl } from '../../shared/jobs/job-control.ts'
import { createLeftJobs } from '../../worker/left-jobs.ts'
import { eventually } from '../support/eventually.ts'
import { ask, MASTER_KEY, startApi, type TestApi } from './fixture.ts'

const PATH = '/v1/chat/completions'
const COMPLETION = '{"id":"chatcmpl-1","choices":[]}'
const RETRY = { 'x-stainless-retry-count': '1' }
const LEFT_MS = 2_500

let api: TestApi
let number = 0
/** A request that no other test has made. */
let body: Record<string, unknown>
beforeAll(async () => {
  api = await startListening()
})
afterAll(() => api.close())
beforeEach(() => {
  body = ask({ seed: (number += 1) })
})

/** An API that clients can leave, with room for all jobs at once. */
async function startListening(options: Parameters<typeof startApi>[0] = {}): Promise<TestApi> {
  const started = await startApi(options)
  // Few enough that nothing is enqueued before it is known to be taken.
  await started.store.redis.set(started.store.keys.slots, 60)
  await started.app.listen({ host: '127.0.0.1', port: 0 })
  return started
}

/** A call whose client is there until it is told to leave, as the official SDKs make them. */
function open(change: object = {}, headers: Record<string, string> = {}, of = api) {
  const { port } = of.app.server.address() as AddressInfo
  const sent = {
    authorization: `Bearer ${MASTER_KEY}`,
    'content-type': 'application/json',
    'x-stainless-retry-count': '0',
    ...headers,
  }
  const call = httpRequest({ port, host: '127.0.0.1', path: PATH, method: 'POST', headers: sent })
  call.on('error', () => {})
  call.end(JSON.stringify({ ...body, ...change }))
  return { leave: () => void call.destroy() }
}

/** A call whose client left before its job ended. @returns the job's id */
async function lost(change: object = {}, headers: Record<string, string> = {}, of = api): Promise<string> {
  const before = of.store.queued.length
  const { leave } = open(change, headers, of)
  const { id } = await eventually('its job is fed', () => of.store.queued[before])
  leave()
  await eventually('the wait is given up', () => of.settled.size() === 0)
  return id
}

/** Whether a job can be found by the call that made it, when that comes again. */
async function isListed(id: unknown): Promise<boolean> {
  const { redis, keys } = api.store
  const lists = await redis.keys(keys.orphans('*'))
  const places = await Promise.all(lists.map((list) => redis.lpos(list, String(id))))
  return places.some((place) => place !== null)
}

const again = (change: object = {}, headers: Record<string, string> = {}, key?: string) =>
  api.call('POST', PATH, { body: { ...body, ...change }, headers: { ...RETRY, ...headers }, key })

/** Ends the job that was fed last. */
async function workOne(): Promise<void> {
  api.store.queued.unshift(...api.store.queued.splice(-1))
  await api.work({ body: COMPLETION })
}

/** Ends all jobs that are fed. */
async function workAll(): Promise<void> {
  while (api.store.queued.length > 0) await api.work({ body: COMPLETION })
}

test('a call that is sent again waits for the job of the first, also when that has ended', async () => {
  const id = await lost()
  const before = await api.stored()
  const [second] = await Promise.all([again(), workAll()])
  expect([second.status, second.text]).toEqual([200, COMPLETION])
  expect(second.headers).toMatchObject({ 'x-job-id': id, 'x-job-attached': 'true' })
  expect(await api.stored()).toBe(before)
})

test('once its answer has gone out, an equal call is a call of its own', async () => {
  const [first] = await Promise.all([
    api.call('POST', PATH, { body, headers: { 'x-stainless-retry-count': '0' } }),
    api.work({ body: COMPLETION }),
  ])
  await eventually('it is taken off', async () => !(await isListed(first.headers['x-job-id'])))
  const [second] = await Promise.all([again(), api.work({ body: COMPLETION })])
  expect(second.headers['x-job-attached']).toBeUndefined()
  expect(second.headers['x-job-id']).not.toBe(first.headers['x-job-id'])
})

test('a client that does not say that it tries again gets a job of its own', async () => {
  const id = await lost()
  const others: Record<string, string>[] = [{ 'x-stainless-retry-count': '0' }, {}]
  for (const headers of others) {
    const [call] = await Promise.all([
      api.call('POST', PATH, { body, headers }),
      eventually('another job is fed', () => api.store.queued.length > 1).then(() => workOne()),
    ])
    expect(call.headers['x-job-id']).not.toBe(id)
  }
  await workAll()
})

test('neither another tenant, customer, gateway key, body, path or option finds it', async () => {
  const { key: firstKey } = await api.apiKeys.create('acme')
  const { key: secondKey } = await api.apiKeys.create('acme')
  const { key: otherTenant } = await api.apiKeys.create('other')
  const id = await lost({}, { authorization: `Bearer ${firstKey}` })
  const calls = [
    again({}, {}, secondKey),
    again({}, {}, otherTenant),
    again({ customer: 'carol' }, {}, firstKey),
    again({}, { 'x-litellm-customer-id': 'carol' }, firstKey),
    again({ temperature: 1 }, {}, firstKey),
    again({}, { 'x-litellm-timeout': '5' }, firstKey),
    again({}, { 'x-job-priority': 'high' }, firstKey),
    api.call('POST', '/v1/completions', { body: { ...body, prompt: 'a' }, headers: RETRY, key: firstKey }),
  ]
  await eventually('all have jobs of their own', () => api.store.queued.length === calls.length + 1)
  await workAll()
  for (const call of calls) expect((await call).headers['x-job-id']).not.toBe(id)
  const found = await again({}, {}, firstKey)
  expect(found.headers['x-job-id']).toBe(id)
})

test('a cancelled or purged job is not found: the call makes a new one', async () => {
  const cancelled = await lost()
  await api.call('POST', `/v1/jobs/${cancelled}/cancel`)
  api.store.queued.length = 0
  const [second] = await Promise.all([again(), api.work({ body: COMPLETION })])
  expect([second.status, second.headers['x-job-attached']]).toEqual([200, undefined])

  body = ask({ seed: (number += 1) })
  const purged = await lost()
  await api.work({ body: COMPLETION })
  await api.call('DELETE', `/v1/jobs/${purged}`)
  const [third] = await Promise.all([again(), api.work({ body: COMPLETION })])
  expect([third.status, third.headers['x-job-attached']]).toEqual([200, undefined])
})

test('two equal calls at once are two jobs, and each that is lost is found once', async () => {
  const calls = [open(), open()]
  await eventually('both are fed', () => api.store.queued.length === 2)
  const ids = api.store.queued.map(({ id }) => id)
  for (const { leave } of calls) leave()
  await eventually('the waits are given up', () => api.settled.size() === 0)
  const before = await api.stored()
  const [first, second] = await Promise.all([again(), again(), workAll()])
  expect(new Set([first, second].map(({ headers }) => headers['x-job-id']))).toEqual(new Set(ids))
  expect(await api.stored()).toBe(before)
})

test('what was accepted for later is found too, when its 202 was lost', async () => {
  const headers = { prefer: 'respond-async' }
  const first = await api.call('POST', PATH, { body, headers: { ...headers, ...RETRY } })
  await eventually('it is taken off', async () => !(await isListed(first.json.id)))
  // Had it not arrived, it would not have been.
  const call = {
    headers: { ...headers, ...RETRY },
    url: PATH,
    principal: { tenant: 'default', keyId: null },
    bodyHash: hash('sha256', JSON.stringify(body), 'base64url'),
  }
  const same = identifyCall(call as unknown as FastifyRequest, null, api.store.ids) // of all that is looked at
  await api.store.redis.rpush(api.store.keys.orphans(same?.fingerprint ?? ''), first.json.id)
  const second = await again({}, headers)
  expect([second.status, second.json.id, second.headers['x-job-attached']]).toEqual([
    202,
    first.json.id,
    'true',
  ])
  await workAll()
})

test('a call that may have been stored is worth a second try, which finds it', async () => {
  const broken = await startApi()
  const { create } = broken.store.jobs
  broken.store.jobs.create = async (input) => {
    await create(input)
    throw new Error('Command timed out')
  }
  const first = await broken.call('POST', PATH, { body, headers: { 'x-stainless-retry-count': '0' } })
  expect([first.status, first.headers['x-should-retry']]).toEqual([503, 'true'])
  broken.store.jobs.create = create
  const [second] = await Promise.all([
    broken.call('POST', PATH, { body, headers: RETRY }),
    broken.work({ body: COMPLETION }),
  ])
  expect([second.status, second.headers['x-job-attached']]).toEqual([200, 'true'])
  expect(await broken.stored()).toBe(1)
  await broken.close()
})

test('the end of a hold asks those to try again who would find their job, and nobody else', async () => {
  const short = await startApi({ syncHoldMs: 50 })
  const held = async (headers: Record<string, string>) => {
    const answer = await short.call('POST', PATH, { body: ask(headers), headers })
    expect([answer.status, answer.json.error.code]).toEqual([504, 'sync_wait_exceeded'])
    return [answer.headers['x-should-retry'], answer.headers['retry-after-ms']]
  }
  expect(await held({ 'x-stainless-retry-count': '0' })).toEqual(['true', '500'])
  expect(await held({ 'idempotency-key': 'a-key' })).toEqual(['true', '500'])
  expect(await held({})).toEqual(['false', undefined])
  await short.close()
})

test('a process that stops asks those to try again whose stream has not begun', async () => {
  const stopping = await startApi()
  const headers = { 'x-stainless-retry-count': '0' }
  const call = stopping.call('POST', PATH, { body: ask({ stream: true }), headers })
  await eventually('the job is fed', () => stopping.store.queued.length === 1)
  stopping.holds.endAll()
  const answer = await call
  expect([answer.status, answer.headers['x-should-retry']]).toEqual([504, 'true'])
  await stopping.close()
})

describe('a job whose client left', () => {
  let impatient: TestApi
  let cancelLeft: () => Promise<void>
  const long = { job: { expires_in: 3600 } }
  beforeAll(async () => {
    impatient = await startListening({ leftMs: LEFT_MS })
    const attended = createAttended(impatient.store)
    cancelLeft = createLeftJobs({ ...impatient.store, attended, control: createJobControl(impatient.store) })
  })
  afterAll(() => impatient.close())

  const statusOf = (id: string, of = impatient) => of.store.redis.hget(of.store.keys.job(id), 'status')
  /** The sweeper goes its rounds. */
  async function sweepFor(ms: number): Promise<void> {
    const startedAt = performance.now()
    await eventually('time goes by', async () => {
      await cancelLeft()
      return performance.now() - startedAt > ms
    })
  }

  test('goes on for its time, and is cancelled then, though it may take longer', async () => {
    const id = await lost(long, {}, impatient)
    const startedAt = performance.now()
    await eventually('it is cancelled', async () => {
      await cancelLeft()
      return (await statusOf(id)) === 'cancelled'
    })
    expect(performance.now() - startedAt).toBeGreaterThan(LEFT_MS / 2)
    expect(await impatient.store.redis.zcard(impatient.store.keys.attended)).toBe(0)
    impatient.store.queued.length = 0
  })

  test('is left alone while its caller is there, or has come back', async () => {
    const first = open(long, {}, impatient)
    const { id } = await eventually('its job is fed', () => impatient.store.queued.at(-1))
    await sweepFor(2 * LEFT_MS)
    first.leave()
    const second = impatient.call('POST', PATH, { body: { ...body, ...long }, headers: RETRY })
    await sweepFor(2 * LEFT_MS)
    expect(await statusOf(id)).toBe('queued')
    await impatient.work({ body: COMPLETION })
    expect((await second).headers['x-job-id']).toBe(id)
  })

  test('is left alone when its owner asks for it by its id', async () => {
    const id = await lost(long, {}, impatient)
    await impatient.call('GET', `/v1/jobs/${id}`)
    const { redis, keys } = impatient.store
    await eventually('it is its owner’s', async () => (await redis.zscore(keys.attended, id)) === null)
    expect(await statusOf(id)).toBe('queued')
    await impatient.work({ body: COMPLETION })
  })

  test.each([false, true])(
    'is cancelled at once where the operator wants that (stream: %s)',
    async (stream) => {
      const strict = await startListening({ cancelsWhenLeft: true })
      const id = await lost({ stream }, {}, strict)
      await eventually('it is cancelled', async () => (await statusOf(id, strict)) === 'cancelled')
      await strict.close()
    },
  )
})
