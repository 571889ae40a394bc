import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { OpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readMemory } from '../../shared/redis-memory.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type CallResult, type Gateway } from '../support/gateway.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { startReceiver } from '../support/receiver.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

const MB = 1024 * 1024
const MAX = 24 * MB
// Nothing of it can be packed: as few as fill the memory.
const PROMPT = randomBytes(150_000).toString('base64')

/** More than the lease of a claim. */
const LEASE_MS = 6_000

describe.skipIf(!isPossible)('Redis fills up', () => {
  let redis: RedisProcess
  let provider: TestProvider
  let receiver: Awaited<ReturnType<typeof startReceiver>>
  let gateway: Gateway

  beforeAll(async () => {
    redis = await startRedis('off', { maxmemory: String(MAX) })
    provider = await startProvider()
    receiver = await startReceiver()
    gateway = await startGateway({ redisUrl: redis.url, env: { WORKER_CONCURRENCY: '20' } })
  })

  afterAll(async () => {
    await gateway?.stop()
    await receiver?.close()
    await provider?.close()
    await redis?.stop()
  })

  beforeEach(() => {
    provider.ledger.length = 0
    receiver.received.length = 0
  })

  const used = async () => (await readMemory(gateway.redis)).usedBytes
  const storage = async () => (await fetch(`${gateway.url}/readyz`)).json() as Promise<{ storage: string }>
  const config = () =>
    ownConfig({ url: provider.url, key: 'sk-own' }, { num_retries: 2, allowed_fails: 1000 })
  const submitLarge = (options: object = {}) =>
    gateway.call('POST', '/v1/jobs', {
      body: {
        endpoint: '/v1/chat/completions',
        body: { ...ask(config(), PROMPT), max_tokens: 100 },
        ...options,
      },
    })

  /** Submits until nothing more is accepted; four at a time. @returns ids of what was. */
  async function fillUp(): Promise<string[]> {
    const ids: string[] = []
    let isFull = false
    const submitOn = async () => {
      while (!isFull) {
        const { status, json } = await submitLarge()
        if (status === 202) ids.push((json as { id: string }).id)
        else expect(status).toBe(507)
        isFull ||= status !== 202
      }
    }
    await Promise.all(Array.from({ length: 4 }, submitOn))
    return ids
  }

  test('at its mark all that would be stored is refused, all else goes on, and what was accepted ends once', async () => {
    const held = gate()
    provider.answer(() => ({ ...completion('ok'), until: held.opened }))
    const key = { headers: { 'idempotency-key': 'the-first' } }
    const told = {
      body: { endpoint: '/v1/chat/completions', body: ask(config()), webhook: { url: receiver.url } },
      ...key,
    }
    const first = (await gateway.call('POST', '/v1/jobs', told)).json as { id: string }
    const before = await used()

    const ids = await fillUp()
    expect(ids.length).toBeGreaterThan(25)
    expect(await used()).toBeLessThan(0.8 * MAX)
    expect(await storage()).toMatchObject({ status: 'ok', storage: 'full' })

    const form = new FormData()
    form.set('purpose', 'user_data')
    form.set('file', new Blob(['some text']), 'some.txt')
    const upload = await fetch(`${gateway.url}/v1/files`, {
      method: 'POST', headers: { authorization: `Bearer ${gateway.masterKey}` }, body: form,
    }) // oxfmt-ignore
    expect(upload.status).toBe(507)
    const line = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: ask(config()) }
    const batch = { endpoint: '/v1/chat/completions', completion_window: '24h', requests: [line] }
    const ways: [string, object, Record<string, string>?][] = [
      ['/v1/chat/completions', ask(config())],
      ['/v1/chat/completions', { ...ask(config()), stream: true }],
      ['/v1/chat/completions', ask(config()), { prefer: 'respond-async' }],
      ['/v1/responses', { model: 'mine', input: 'hi', user_config: config(), background: true }],
      ['/v1/jobs', { endpoint: '/v1/chat/completions', body: ask(config()) }],
      ['/v1/batches', batch],
      ['/v1/credentials', { name: 'mine', user_config: config() }],
    ]
    for (const [path, body, headers] of ways) {
      const answer = await gateway.call('POST', path, { body, headers })
      expect(answer, `${path} ${JSON.stringify(headers)}`).toMatchObject({
        status: 507,
        json: { error: { type: 'server_error', code: 'storage_full' } },
      })
      expect(answer.headers.get('retry-after')).toBe('10')
      expect(answer.headers.get('x-should-retry')).toBe('true')
    }

    const replayed = await gateway.call('POST', '/v1/jobs', told)
    expect(replayed.json).toMatchObject({ id: first.id })
    expect(await gateway.call('GET', '/v1/jobs?limit=2')).toMatchObject({ status: 200 })
    const last = ids.pop() ?? ''
    const cancelled = await gateway.call('POST', `/v1/jobs/${last}/cancel`)
    expect(cancelled.json).toMatchObject({ status: 'cancelled' })

    held.open()
    const ends = await Promise.all([first.id, ...ids].map((id) => gateway.ended(id)))
    expect(ends.filter(({ status }) => status === 'completed')).toHaveLength(ids.length + 1)
    expect(provider.ledger).toHaveLength(ids.length + 1)
    await eventually('its webhook was sent', () => receiver.received.length === 1)
    // Prompts are erased at the end: the room is back before anything was deleted, and by itself.
    await eventually('there is room again', async () => (await storage()).storage === 'open')
    expect((await submitLarge()).status).toBe(202)
    const deleted = await Promise.all(ids.map((id) => gateway.call('DELETE', `/v1/jobs/${id}`)))
    expect(deleted.every(({ status }) => status < 300)).toBe(true)
    await eventually('memory is back where it was', async () => (await used()) < before + MB)
  })

  test('OpenAI’s SDK waits as it is told, and gets through once there is room', async () => {
    provider.answer(() => completion('ok'))
    const others: string[] = []
    while ((await used()) < 0.77 * MAX) {
      others.push(`else ${others.length}`)
      await gateway.redis.set(`else ${others.length - 1}`, Buffer.alloc(MB / 4))
    }
    await eventually('it is full', async () => (await storage()).storage === 'full')
    const waits: string[] = []
    const client = new OpenAI({
      baseURL: `${gateway.url}/v1`,
      apiKey: gateway.masterKey,
      fetch: async (url, init) => {
        const response = await fetch(url, init)
        if (response.status !== 507) return response
        waits.push(response.headers.get('retry-after') ?? '')
        // As if the time had passed: the test does not wait so long.
        await gateway.redis.unlink(...others)
        await eventually('there is room', async () => (await storage()).storage === 'open')
        const headers = new Headers(response.headers)
        headers.set('retry-after-ms', '10')
        return new Response(response.body, { status: response.status, headers })
      },
    })
    const request = {
      model: 'mine',
      messages: [{ role: 'user' as const, content: 'hi' }],
      user_config: config(),
    }
    const answer = await client.chat.completions.create(request)
    expect(answer.choices[0]?.message.content).toBe('ok')
    expect(waits).toEqual(['10'])
  })

  test('at its maximum what runs goes on and ends, what waits waits, and nothing is lost or called twice', async () => {
    const held = gate()
    provider.answer(() => ({ ...completion('ok'), until: held.opened }))
    const small = () => gateway.submit(ask(config()))
    const ids = (await Promise.all(Array.from({ length: 40 }, small))).map(({ id }) => id)
    await eventually('as many run as may', () => provider.open() >= 15)
    await gateway.redis.config('SET', 'maxmemory', '1mb')
    const refused = await Promise.all(Array.from({ length: 10 }, () => submitLarge()))
    for (const answer of refused)
      expect(answer).toMatchObject({ status: 507, json: { error: { code: 'storage_full' } } })
    // By now a call has come whose attempt was written while there was room.
    const running = provider.open()
    const leases = performance.now()
    await eventually('more than a lease has passed', () => performance.now() - leases > LEASE_MS)
    // Their leases were kept, or they would have been called off.
    expect(provider.ledger.filter(({ outcome }) => outcome === 'left')).toEqual([])
    held.open()
    await eventually('the running ones have ended while it was full', async () => {
      const jobs = await Promise.all(ids.map((id) => gateway.job(id)))
      return jobs.filter(({ status }) => status === 'completed').length >= running
    })
    await gateway.redis.config('SET', 'maxmemory', String(MAX))
    for (const id of ids)
      expect(await gateway.ended(id)).toMatchObject({
        status: 'completed',
        attempts_made: 1,
      })
    expect(provider.ledger).toHaveLength(ids.length)
    await eventually('there is room again', async () => (await storage()).storage === 'open')
  })

  test('when it can not save nothing is accepted, reads go on, and all goes on once it can', async () => {
    const held = gate()
    provider.answer(() => ({ ...completion('ok'), until: held.opened }))
    const ids = (await Promise.all(Array.from({ length: 30 }, () => gateway.submit(ask(config()))))).map(
      ({ id }) => id,
    )
    await eventually('some run', () => provider.open() >= 15)
    const inTheWay = join(redis.folder, 'dump.rdb')
    await mkdir(join(inTheWay, 'full'), { recursive: true })
    await gateway.redis.config('SET', 'save', '3600 1')
    await gateway.redis.bgsave()
    await eventually('it is noticed', async () => (await storage()).storage === 'readonly')
    const answers: CallResult[] = await Promise.all([
      submitLarge(),
      gateway.call('POST', '/v1/chat/completions', { body: ask(config()) }),
    ])
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 503, json: { error: { code: 'storage_readonly' } } })
      expect(answer.headers.get('retry-after')).toBe('10')
    }
    expect(await gateway.job(ids[0] ?? '')).toMatchObject({ object: 'job', completed_at: null })
    held.open()
    await eventually('the calls are answered', () => provider.open() === 0)
    await rm(inTheWay, { recursive: true })
    await gateway.redis.bgsave()
    for (const id of ids) expect(await gateway.ended(id)).toMatchObject({ status: 'completed' })
    await eventually('jobs are accepted', async () => (await submitLarge()).status === 202)
    expect(gateway.workers.map((worker) => worker.hasEnded())).toEqual([false])
    await gateway.redis.config('SET', 'save', '')
  })
})
