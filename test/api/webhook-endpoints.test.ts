import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { WebhookEndpoint } from '../../shared/schemas/webhook.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

let api: TestApi
let key: string
let foreign: string
let tenants = 0
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())
beforeEach(async () => {
  tenants += 1
  key = (await api.apiKeys.create(`tenant-${tenants}`)).key
  foreign = (await api.apiKeys.create(`foreign-${tenants}`)).key
})

const GOOD = { name: 'x', url: 'https://hook.example/in?a=b', event_types: ['job.completed'] }
type WithSecret = WebhookEndpoint & { signing_secret: string }

async function create(change: object = {}): Promise<WithSecret> {
  const answer = await api.call('POST', '/v1/webhook_endpoints', { key, body: { ...GOOD, ...change } })
  expect(answer.status, answer.text).toBe(200)
  return answer.json as WithSecret
}

const post = (path: string, body?: unknown) =>
  api.call('POST', `/v1/webhook_endpoints/${path}`, { key, body })

test("an endpoint is OpenAI's object, and shows its secret only where it is made", async () => {
  const { signing_secret: secret, ...made } = await create({ headers: { 'X-Mine': 'v', authorization: 'b' } })
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect(made).toEqual({
    id: expect.stringMatching(/^whe_[0-9a-f]{40}$/),
    object: 'webhook_endpoint',
    name: 'x',
    url: GOOD.url,
    event_types: ['job.completed'],
    signing_secret_hint: `whsec_...${secret.slice(-4)}`,
    created_at: expect.any(Number),
    updated_at: made.created_at,
    enabled: true,
    disabled_at: null,
    disabled_reason: null,
    customer: null,
    metadata: {},
    headers: ['x-mine', 'authorization'],
  })
  for (const path of [`/v1/webhook_endpoints/${made.id}`, `/webhook_endpoints/${made.id}`]) {
    expect((await api.call('GET', path, { key })).json).toEqual(made)
  }
  const list = await api.call('GET', '/v1/webhook_endpoints', { key })
  expect(list.json).toEqual({
    object: 'list',
    data: [made],
    first_id: made.id,
    last_id: made.id,
    has_more: false,
  })
})

test('an update changes what it names and nothing else; null empties', async () => {
  const { signing_secret: _secret, ...made } = await create({
    customer: 'ann',
    metadata: { a: 'b' },
    headers: { 'x-a': '1' },
  })
  expect((await post(made.id)).json).toEqual(made)
  expect((await post(made.id, {})).json).toEqual(made)
  const changed = await post(made.id, { name: 'y', event_types: ['batch.failed', 'batch.failed'] })
  expect(changed.json).toMatchObject({
    ...made,
    name: 'y',
    event_types: ['batch.failed'],
    updated_at: expect.any(Number),
  })
  const emptied = await post(made.id, { customer: null, metadata: null, headers: null, enabled: false })
  expect(emptied.json).toMatchObject({
    customer: null,
    metadata: {},
    headers: [],
    enabled: false,
    disabled_reason: 'manual',
    disabled_at: expect.any(Number),
  })
  expect((await post(made.id, { enabled: true })).json).toMatchObject({
    enabled: true,
    disabled_at: null,
    disabled_reason: null,
  })
})

test('headers are sent to no other host than they were given for, unless they are given again', async () => {
  const { id } = await create({ headers: { authorization: 'Bearer of-this-host' } })
  for (const url of ['https://elsewhere.example/in', 'https://hook.example:8443/in']) {
    const { status, json } = await post(id, { url })
    expect([status, json.error.code, json.error.param]).toEqual([400, 'headers_required', 'headers'])
  }
  expect((await api.call('GET', `/v1/webhook_endpoints/${id}`, { key })).json.url).toBe(GOOD.url)
  expect((await post(id, { url: 'https://hook.example/other' })).status).toBe(200)
  expect((await post(id, { url: 'https://elsewhere.example/in', headers: { 'x-a': '1' } })).status).toBe(200)
  expect((await post(id, { url: 'https://third.example/in', headers: null })).status).toBe(200)
  expect((await post(id, { url: 'https://fourth.example/in' })).status).toBe(200)
})

test('a deleted endpoint is gone', async () => {
  const { id } = await create()
  const path = `/v1/webhook_endpoints/${id}`
  expect((await api.call('DELETE', path, { key })).json).toEqual({
    id,
    object: 'webhook_endpoint.deleted',
    deleted: true,
  })
  expect((await api.call('GET', path, { key })).status).toBe(404)
  expect((await api.call('DELETE', path, { key })).status).toBe(404)
})

test('a rotation gives a new secret, and says how long the old one signs along in one way only', async () => {
  const { id, signing_secret: first } = await create()
  const bodies = [undefined, {}, { keep_old_secret_active_for_24_hours: true }, { overlap_seconds: 5 }]
  const secrets = new Set([first])
  for (const body of bodies) {
    const answer = await post(`${id}/rotate_secret`, body)
    expect(answer.status, answer.text).toBe(200)
    expect(answer.headers['cache-control']).toBe('no-store')
    secrets.add((answer.json as WithSecret).signing_secret)
  }
  expect(secrets.size).toBe(5)
  const both = { keep_old_secret_active_for_24_hours: true, overlap_seconds: 5 }
  expect(await post(`${id}/rotate_secret`, both)).toMatchObject({
    status: 400,
    json: { error: { param: 'overlap_seconds' } },
  })
})

test('what endpoints can be told of is a list of words', async () => {
  const { json } = await api.call('GET', '/v1/webhook_event_types', { key })
  expect(json).toMatchObject({ object: 'list' })
  expect(json.data).toEqual(
    expect.arrayContaining(['job.completed', 'batch.completed', 'response.incomplete']),
  )
})

describe('a request that can not be right is refused, and nothing is stored', () => {
  test.each([
    ['name', { name: '' }],
    ['name', { name: undefined }],
    ['url', { url: undefined }],
    ['url', { url: 'http://hook.example/' }],
    ['url', { url: 'https://127.0.0.1/' }],
    ['url', { url: 'https://user:7f3a@hook.example/' }],
    ['url', { url: 'https://169.254.169.254/' }],
    ['event_types', { event_types: [] }],
    ['event_types[0]', { event_types: ['eval.run.succeeded'] }],
    ['customer', { customer: '' }],
    ['metadata', { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`k${at}`, 'v'])) }],
    ['headers.Host', { headers: { Host: 'x' } }],
    ['headers.content-type', { headers: { 'content-type': 'x' } }],
    ['headers.webhook-id', { headers: { 'webhook-id': 'x' } }],
    ['headers.X-Forwarded-For', { headers: { 'X-Forwarded-For': 'x' } }],
    ['headers.Proxy-Authorization', { headers: { 'Proxy-Authorization': 'x' } }],
    ['headers.user-agent', { headers: { 'user-agent': 'x' } }],
    ['headers.Transfer-Encoding', { headers: { 'Transfer-Encoding': 'chunked' } }],
    ['headers.X-A', { headers: { 'x-a': '1', 'X-A': '2' } }],
    ['headers.x-a', { headers: { 'x-a': 'line\r\nbreak' } }],
    ['signing_secret', { signing_secret: 'whsec_mine' }],
  ])('%s', async (param, change) => {
    const answer = await api.call('POST', '/v1/webhook_endpoints', { key, body: { ...GOOD, ...change } })
    expect(answer).toMatchObject({ status: 400, json: { error: { type: 'invalid_request_error', param } } })
    expect(answer.text).not.toContain('7f3a')
    const { json } = await api.call('GET', '/v1/webhook_endpoints', { key })
    expect(json.data).toEqual([])
  })

  test('an unknown `after`', async () => {
    for (const path of ['webhook_endpoints', 'webhook_deliveries', 'events']) {
      const answer = await api.call('GET', `/v1/${path}?after=nothing`, { key })
      expect(answer).toMatchObject({ status: 400, json: { error: { param: 'after' } } })
    }
  })
})

test("another tenant's endpoint is told apart from none by nothing", async () => {
  const { id } = await create()
  const unknown = 'whe_0123'
  const calls = [
    ['GET', ''],
    ['POST', '', { name: 'mine' }],
    ['DELETE', ''],
    ['POST', '/rotate_secret', {}],
    ['POST', '/test', { event_type: 'job.completed' }],
    ['GET', '/deliveries'],
    ['POST', '/recover', { since: 0 }],
  ] as const
  for (const [method, path, body] of calls) {
    const [theirs, none] = [
      await api.call(method, `/v1/webhook_endpoints/${id}${path}`, { key: foreign, body }),
      await api.call(method, `/v1/webhook_endpoints/${unknown}${path}`, { key: foreign, body }),
    ]
    expect(theirs).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } })
    expect(theirs.text).toBe(none.text)
  }
  const filtered = await api.call('GET', `/v1/webhook_deliveries?webhook_endpoint_id=${id}`, { key: foreign })
  expect(filtered.status).toBe(404)
})

test('a disabled endpoint is neither tested nor sent again what it missed', async () => {
  const { id } = await create({ enabled: false })
  for (const [path, body] of [
    ['test', { event_type: 'job.completed' }],
    ['recover', { since: 0 }],
  ] as const) {
    const answer = await post(`${id}/${path}`, body)
    expect(answer).toMatchObject({ status: 409, json: { error: { code: 'webhook_endpoint_disabled' } } })
  }
})

test('a time that ends before it begins recovers nothing', async () => {
  const { id } = await create()
  const answer = await post(`${id}/recover`, { since: 10, until: 9 })
  expect(answer).toMatchObject({ status: 400, json: { error: { param: 'until' } } })
  expect(await post(`${id}/recover`, { since: 0 })).toMatchObject({
    status: 202,
    json: { object: 'webhook_endpoint.recovery', webhook_endpoint_id: id, redelivered: 0 },
  })
})

test('a call that waits for its answer is warned that it names endpoints for nothing', async () => {
  const { id } = await create()
  const answering = api.call('POST', '/v1/chat/completions', {
    key,
    body: ask({ job: { webhook_endpoint_ids: [id] } }),
  })
  await api.work({ body: '{"id":"chatcmpl-1","choices":[]}' })
  const { headers } = await answering
  const { json } = await api.call('GET', `/v1/jobs/${String(headers['x-job-id'])}`, { key })
  expect(json.warnings).toContain(
    'job.webhook_endpoint_ids has no effect on a call that waits for its answer',
  )
})

describe('a submit that names endpoints which would not be told is refused', () => {
  const doors: [string, string, (ids: string[], customer?: string) => object][] = [
    ['/v1/jobs', '', (ids, customer) => ({ endpoint: '/v1/chat/completions', body: ask(), customer, webhook_endpoint_ids: ids })],
    ['/v1/chat/completions', 'job.', (ids, customer) => ask({ customer, job: { webhook_endpoint_ids: ids } })],
    ['/v1/batches', '', (ids, customer) => ({
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      requests: [{ custom_id: 'a', body: ask() }],
      customer,
      webhook_endpoint_ids: ids,
    })],
  ] // oxfmt-ignore

  test.each(doors)('at %s', async (path, prefix, make) => {
    const [good, ofAnn] = [await create(), await create({ customer: 'ann' })]
    const disabled = await create({ enabled: false })
    const theirs = await api.call('POST', '/v1/webhook_endpoints', { key: foreign, body: GOOD })
    const before = await api.stored()
    const cases = [
      [[good.id, 'whe_unknown'], 1, 'webhook_endpoint_not_found'],
      [[(theirs.json as WebhookEndpoint).id], 0, 'webhook_endpoint_not_found'],
      [[good.id, disabled.id], 1, 'webhook_endpoint_disabled'],
      [[ofAnn.id], 0, 'webhook_endpoint_of_another_customer'],
    ] as const
    const headers = { prefer: 'respond-async' }
    for (const [ids, position, code] of cases) {
      const answer = await api.call('POST', path, { key, headers, body: make([...ids], 'bob') })
      const error = { code, param: `${prefix}webhook_endpoint_ids[${position}]` }
      expect(answer, answer.text).toMatchObject({ status: 400, json: { error } })
    }
    expect(await api.stored()).toBe(before)
    const taken = await api.call('POST', path, { key, headers, body: make([good.id, ofAnn.id], 'ann') })
    expect([200, 202], taken.text).toContain(taken.status)
  })
})
