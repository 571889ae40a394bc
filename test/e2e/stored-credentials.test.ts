import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Credential } from '../../shared/schemas/credential.ts'
import type { Job } from '../../shared/schemas/job.ts'
import { batchesOf, inputLine, lineOf } from '../support/batches.ts'
import { dumpFolder, dumpRedis } from '../support/dump.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type CallOptions, type Gateway } from '../support/gateway.ts'
import { chunks, completion, failure, startProvider, type TestProvider } from '../support/provider.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import { ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

/** In every stored key; what must be found nowhere. And what must be found, or else the search is blind. */
const SECRET = 'canary-stored'
const MARK = 'plain-mark-S6wC'
const embeddings = {
  kind: 'reply' as const,
  status: 200,
  body: { object: 'list', data: [], model: 'embed', usage: { prompt_tokens: 1, total_tokens: 1 } },
}

const ask = (fields: object) => ({
  model: 'gpt-test',
  messages: [{ role: 'user', content: 'hi' }],
  num_retries: 0,
  ...fields,
})

function as(customer: string | null): Record<string, string> {
  return customer === null ? {} : { 'x-litellm-customer-id': customer }
}

describe.skipIf(!isPossible)('stored credentials', () => {
  let redis: RedisProcess
  let provider: TestProvider
  /** At another address: no key that was not stored with it may ever come here. */
  let stranger: TestProvider
  let gateway: Gateway
  const keys: Record<string, string> = {}
  const told: string[] = []
  let number = 0

  beforeAll(async () => {
    redis = await startRedis('everysec')
    provider = await startProvider()
    stranger = await startProvider()
    gateway = await startGateway({ redisUrl: redis.url, workers: 2, env: { LOG_LEVEL: 'trace' } })
    await gateway.redis.config('SET', 'rdbcompression', 'no')
    for (const tenant of ['acme', 'globex']) keys[tenant] = await gateway.tenantKey(tenant)
  })

  afterAll(async () => {
    await gateway?.stop()
    await Promise.all([provider?.close(), stranger?.close()])
    await redis?.stop()
  })

  beforeEach(() => {
    provider.ledger.length = 0
    provider.answer(() => completion('ok'))
  })

  async function call(method: string, path: string, request: CallOptions & { tenant?: string } = {}) {
    const { tenant = 'acme', ...options } = request
    const answer = await gateway.call(method, path, { key: keys[tenant], ...options })
    told.push(answer.text, JSON.stringify([...answer.headers]))
    return answer
  }

  const freshKey = () => `sk-${SECRET}-${(number += 1)}-8fK2`
  const batches = () => batchesOf(gateway, keys['acme'])
  const callsOf = () => new Map(provider.ledger.map((entry) => [lineOf(entry), entry.key]))
  const used = () => provider.ledger.map(({ key }) => key)

  /** Stores a key for the provider of the test. */
  async function store(owner: { tenant?: string; customer?: string | null; as?: 'config' } = {}) {
    const { tenant = 'acme', customer = null, as: kind } = owner
    const key = freshKey()
    const secret =
      kind === 'config'
        ? { user_config: ownConfig({ url: provider.url, key, group: 'gpt-test' }) }
        : { provider: 'openai', api_key: key, api_base: `${provider.url}/v1` }
    const body = { ...secret, customer, metadata: { mark: MARK } }
    const answer = await call('POST', '/v1/credentials', { tenant, body })
    expect(answer.status).toBe(200)
    return { id: (answer.json as Credential).id, key }
  }

  const rotate = (id: string, body: object) => call('POST', `/v1/credentials/${id}`, { body })
  const retryJob = (id: string, body: object) => call('POST', `/v1/jobs/${id}/retry`, { body })
  const remove = (id: string) => call('DELETE', `/v1/credentials/${id}`)

  test('each is used by requests of its own tenant and customer, at every door, and by no others', async () => {
    const owners = ['acme', 'globex'].flatMap((tenant) =>
      [null, 'alice', 'bob'].map((customer) => ({ tenant, customer })),
    )
    const stored = await Promise.all(
      owners.map(async (owner, at) => ({
        ...owner,
        ...(await store({ ...owner, ...(at % 2 === 0 ? {} : { as: 'config' as const }) })),
      })),
    )
    for (const { tenant, customer, id, key } of stored) {
      for (const owner of owners) {
        const headers = as(owner.customer)
        const isOwn = owner.tenant === tenant && owner.customer === customer
        provider.ledger.length = 0
        const answer = await call('POST', '/v1/chat/completions', {
          tenant: owner.tenant,
          headers,
          body: ask({ credential: id }),
        })
        expect([answer.status, used()]).toEqual(isOwn ? [200, [key]] : [404, []])
      }
    }
    const [{ id, key } = { id: '', key: '' }] = stored
    provider.ledger.length = 0
    provider.answer(({ body, path }) => {
      if (path.endsWith('/embeddings')) return embeddings
      return body['stream'] === true ? chunks('o', 'k') : completion('ok')
    })
    const streamed = await call('POST', '/v1/chat/completions', {
      body: ask({ credential: id, stream: true }),
    })
    expect(streamed.status).toBe(200)
    const job = await gateway.submit(ask({ credential: id }), {}, keys['acme'])
    expect((await gateway.ended(job.id, { key: keys['acme'] })).status).toBe('completed')
    const embedding = await call('POST', '/v1/embeddings', {
      body: { model: 'embed', input: 'x', credential: id },
    })
    expect([embedding.status, used()]).toEqual([200, [key, key, key]])
  })

  test('the very next request in any process has a rotated key, and none that is deleted', async () => {
    const { id, key } = await store()
    const first = gateway.url
    await gateway.replaceApi()
    const at = async (url: string) =>
      fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${keys['acme']}`, 'content-type': 'application/json' },
        body: JSON.stringify(ask({ credential: id })),
      }).then(({ status }) => status)
    expect(await Promise.all([at(first), at(gateway.url)])).toEqual([200, 200])
    const next = freshKey()
    expect((await rotate(id, { api_key: next })).status).toBe(200)
    expect(await Promise.all([at(first), at(gateway.url)])).toEqual([200, 200])
    expect(used()).toEqual([key, key, next, next])
    const later = await gateway.submit(ask({ credential: id }), { delay: 0.5 }, keys['acme'])
    expect((await remove(id)).status).toBe(200)
    expect(await Promise.all([at(first), at(gateway.url)])).toEqual([404, 404])
    // A job has its own copy from its submit on.
    expect((await gateway.ended(later.id, { key: keys['acme'] })).status).toBe('completed')
    expect(used().slice(4)).toEqual([next])
  })

  test('no key ever goes to another base than its own', async () => {
    const { id, key } = await store()
    const base = { api_base: `${stranger.url}/v1` }
    for (const body of [
      ask({ credential: id, ...base }),
      ask({ credential: id, base_url: base.api_base }),
      ask({ credential: id, fallbacks: [{ model: 'openai/gpt-test', ...base }] }),
    ]) {
      expect((await call('POST', '/v1/chat/completions', { body })).status).toBe(400)
    }
    expect((await rotate(id, base)).status).toBe(400)
    provider.answer(() => failure(500, 'server_error'))
    stranger.answer(() => completion('ok'))
    const other = `sk-${SECRET}-stranger`
    const own = { model: 'openai/gpt-test', api_key: other, ...base }
    const fallen = await call('POST', '/v1/chat/completions', {
      body: ask({ credential: id, fallbacks: [own] }),
    })
    expect([fallen.status, used(), stranger.ledger.map(({ key: shown }) => shown)]).toEqual([
      200,
      [key],
      [other],
    ])
  })

  test('an ended job is run again with the credential that it named, or with another one', async () => {
    const [one, two] = [await store(), await store()]
    provider.answer(() => failure(400, 'bad_request'))
    const ended = (id: string) => gateway.ended(id, { key: keys['acme'] })
    const retried = async (id: string, body: object) => ended(((await retryJob(id, body)).json as Job).id)
    const first = await gateway.submit(ask({ credential: one.id }), {}, keys['acme'])
    const second = await retried((await ended(first.id)).id, {})
    const third = await retried(second.id, { credential: two.id })
    expect(used()).toEqual([one.key, one.key, two.key])
    await remove(two.id)
    expect((await retryJob(third.id, {})).status).toBe(404)
    const own = { api_key: freshKey(), api_base: `${provider.url}/v1` }
    await retried(third.id, own)
    expect(used().at(-1)).toBe(own.api_key)
  })

  describe('in batches', () => {
    test('each line is called with its own: stored, sent, or its batch’s', async () => {
      const [whole, alice, config] = [
        await store(),
        await store({ customer: 'alice' }),
        await store({ as: 'config' }),
      ]
      const own = { api_key: freshKey(), api_base: `${provider.url}/v1` }
      const model = { model: 'gpt-test' }
      const batch = await batches().start(
        [
          inputLine('default', {}, model),
          inputLine('alice', { customer: 'alice', credential: alice.id }, model),
          inputLine('in-body', {}, { ...model, credential: config.id }),
          inputLine('own', {}, { ...model, ...own }),
          inputLine('again', { credential: config.id }, model),
        ],
        { credential: whole.id, metadata: { mark: MARK } },
      )
      expect((await batches().ended(batch.id)).request_counts).toMatchObject({ completed: 5, failed: 0 })
      expect(Object.fromEntries(callsOf())).toEqual({
        default: whole.key,
        alice: alice.key,
        'in-body': config.key,
        own: own.api_key,
        again: config.key,
      })
    })

    test('one that a line may not name is told before any line runs', async () => {
      const [alice, foreign] = [await store({ customer: 'alice' }), await store({ tenant: 'globex' })]
      const model = { model: 'gpt-test' }
      const { id } = await batches().start([
        inputLine('ok', { credential: alice.id, customer: 'alice' }, model),
        inputLine('not-alice', { credential: alice.id }, model),
        inputLine('foreign', {}, { ...model, credential: foreign.id }),
        inputLine('both', { credential: alice.id, customer: 'alice' }, { ...model, api_key: 'sk-x' }),
      ])
      const failed = await batches().ended(id)
      expect(failed.status).toBe('failed')
      expect(failed.errors?.data.map(({ line, code, param }) => [line, code, param])).toEqual([
        [2, 'credential_not_found', 'credential'],
        [3, 'credential_not_found', 'body.credential'],
        [4, 'ambiguous_credentials', 'body.api_key'],
      ])
      expect(provider.ledger).toEqual([])
    })

    test('lines that have not run get what is there by then; those that failed are run again with another', async () => {
      const [gone, rotated] = [await store(), await store()]
      const own = { api_key: freshKey(), api_base: `${provider.url}/v1` }
      const held = gate()
      provider.answer((entry) => ({
        ...completion('ok'),
        ...(lineOf(entry) === 'first' ? { until: held.opened } : {}),
      }))
      const model = { model: 'gpt-test' }
      const { id } = await batches().start(
        [
          inputLine('first', {}, { ...model, ...own }),
          inputLine('gone', { credential: gone.id }, model),
          inputLine('rotated', { credential: rotated.id }, model),
        ],
        { concurrency: 1 },
      )
      await eventually('the first line is called', () => provider.open() === 1)
      await remove(gone.id)
      const next = freshKey()
      await rotate(rotated.id, { api_key: next })
      held.open()
      const ended = await batches().ended(id)
      expect(ended.request_counts).toMatchObject({ completed: 2, failed: 1 })
      expect(Object.fromEntries(callsOf())).toEqual({ first: own.api_key, rotated: next })
      const { error } = await batches().results(ended)
      expect(JSON.stringify(error)).toContain('credential_not_found')

      const fresh = await store()
      const unknown = await batches().retry(id, { credentials: { gone: { credential: gone.id } } })
      expect([unknown.status, unknown.text.includes('credentials[\\"gone\\"].credential')]).toEqual([
        404,
        true,
      ])
      provider.ledger.length = 0
      const again = await batches().retry(id, { credentials: { gone: { credential: fresh.id } } })
      expect(again.status).toBe(200)
      await batches().ended((again.json as { id: string }).id)
      expect(Object.fromEntries(callsOf())).toEqual({ gone: fresh.key })
    })

    test('a batch’s own goes on to its retry, unless that brings other credentials', async () => {
      const [one, two] = [await store(), await store()]
      provider.answer(() => failure(400, 'bad_request'))
      const lines = [inputLine('a', {}, { model: 'gpt-test', num_retries: 0 })]
      const { id } = await batches().start(lines, { credential: one.id })
      await batches().ended(id)
      const retry = async (body: object) => {
        const answer = await batches().retry(id, body)
        expect(answer.status).toBe(200)
        await batches().ended((answer.json as { id: string }).id)
      }
      await retry({})
      await retry({ credential: two.id })
      const own = { api_key: freshKey(), api_base: `${provider.url}/v1` }
      await retry(own)
      expect(used()).toEqual([one.key, one.key, two.key, own.api_key])
    })
  })

  test('no secret of any of them is in Redis, its files, the file store, a log or an answer', async () => {
    await gateway.redis.save()
    const everything = Buffer.concat([
      await dumpRedis(gateway.redis),
      await dumpFolder(redis.folder),
      await dumpFolder(gateway.filesFolder),
      Buffer.from(gateway.logs()),
      Buffer.from(told.join('\n')),
    ])
    expect(number).toBeGreaterThan(10)
    expect(everything.includes(MARK)).toBe(true)
    const at = everything.indexOf(SECRET)
    expect(at < 0 ? '' : everything.subarray(Math.max(0, at - 80), at + 80).toString('latin1')).toBe('')
  })
})
