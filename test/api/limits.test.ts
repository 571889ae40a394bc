import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseAccount } from '../../shared/tenants/accounts.ts'
import type { TenantSettings } from '../../shared/schemas/tenant.ts'
import { DAY_MS } from '../../shared/tenants/usage.ts'
import { eventually } from '../support/eventually.ts'
import { ask, startApi, type TestApi } from './fixture.ts'

const TODAY = new Date().toISOString().slice(0, 10)

let api: TestApi
let tenantNumber = 0
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

/** A tenant of its own with these limits, and a key of it. */
async function tenantWith(settings: TenantSettings): Promise<{ tenant: string; key: string }> {
  const tenant = `limited-${(tenantNumber += 1)}`
  await api.tenants.create(tenant, settings)
  const { key } = await api.apiKeys.create(tenant, { scopes: ['submit', 'read'] })
  return { tenant, key }
}

const submit = (key: string, extra: object = {}, prices: object = {}) => {
  const params = { model: 'openai/gpt-test', api_key: 'sk-client', ...prices }
  const body = { ...ask(), user_config: { model_list: [{ model_name: 'mine', litellm_params: params }] } }
  return api.call('POST', '/v1/jobs', { key, body: { endpoint: '/v1/chat/completions', body, ...extra } })
}

const rateHeaders = (headers: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => name.includes('ratelimit')))

test('every submit of a tenant with a limit says in both families how many requests are left, and a refused one when to come again', async () => {
  const { key } = await tenantWith({ limits: { requests_per_minute: 3 } })
  const seconds = expect.stringMatching(/^(1m)?\d+s$/) as string
  const left = (remaining: number) => ({
    'ratelimit-policy': '"tenant";q=3;w=60',
    ratelimit: expect.stringMatching(new RegExp(`^"tenant";r=${remaining};t=\\d+$`)) as string,
    'x-ratelimit-limit-requests': '3',
    'x-ratelimit-remaining-requests': String(remaining),
    'x-ratelimit-reset-requests': seconds,
  })
  const job = await submit(key)
  expect(job.status).toBe(202)
  expect(rateHeaders(job.headers)).toEqual(left(2))
  const chat = { key, body: ask(), headers: { prefer: 'respond-async' } }
  const asynchronous = await api.call('POST', '/v1/chat/completions', chat)
  expect(asynchronous.status).toBe(202)
  expect(rateHeaders(asynchronous.headers)).toEqual(left(1))
  // A batch is one request, however many lines it has.
  const lines = [1, 2, 3, 4].map((id) => ({ custom_id: `l${id}`, body: ask() }))
  const batch = { endpoint: '/v1/chat/completions', completion_window: '24h', requests: lines }
  const batched = await api.call('POST', '/v1/batches', { key, body: batch })
  expect(batched.status).toBe(200)
  expect(rateHeaders(batched.headers)).toEqual(left(0))

  const retry = await api.call('POST', `/v1/jobs/${job.json.id}/cancel`, { key })
  expect(retry.json.status).toBe('cancelled')
  const bodies: [string, object | undefined][] = [
    ['/v1/jobs', { endpoint: '/v1/chat/completions', body: ask() }],
    ['/v1/chat/completions', ask()],
    ['/v1/chat/completions', { ...ask(), stream: true }],
    ['/v1/responses', { ...ask(), messages: undefined, input: 'hello', background: true }],
    ['/v1/batches', batch],
    [`/v1/jobs/${job.json.id}/retry`, { user_config: ask().user_config }],
  ]
  for (const [path, body] of bodies) {
    const refused = await api.call('POST', path, { key, body })
    expect(refused.json, path).toMatchObject({
      error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
    })
    expect(refused.status).toBe(429)
    expect(refused.headers['x-should-retry']).toBe('true')
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0)
    // Whoever goes by the other headers comes no sooner, to be refused again.
    const [, resetSeconds] = /t=(\d+)/.exec(String(refused.headers.ratelimit)) ?? []
    expect(Number(resetSeconds)).toBeGreaterThanOrEqual(Number(refused.headers['retry-after']))
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60)
    expect(rateHeaders(refused.headers)).toEqual(left(0))
  }
})

test('who has no limit on requests is told none', async () => {
  const { key } = await tenantWith({ limits: { jobs_waiting: 5 } })
  expect(rateHeaders((await submit(key)).headers)).toEqual({})
})

test('of tenant and customer the one with less left is told; a customer by name has what is said of him', async () => {
  const { key } = await tenantWith({
    limits: { requests_per_minute: 10 },
    customer_limits: { requests_per_minute: 2 },
    customers: { big: { requests_per_minute: 20 }, free: { requests_per_minute: null } },
  })
  const told = async (customer: string) =>
    (await submit(key, { customer })).headers['x-ratelimit-remaining-requests']
  expect(await told('small')).toBe('1')
  expect(await told('small')).toBe('0')
  const refused = await submit(key, { customer: 'small' })
  expect(refused.status).toBe(429)
  expect(refused.json.error.message).toContain('customer')
  expect(await told('big')).toBe('7')
  expect(await told('free')).toBe('6')
  expect(await told('constructor')).toBe('1')
})

test('limits that an admin changes hold from the next call on', async () => {
  const { tenant, key } = await tenantWith({})
  expect((await submit(key)).status).toBe(202)
  const change = { body: { limits: { requests_per_minute: 1 } } }
  expect((await api.call('POST', `/v1/admin/tenants/${tenant}`, change)).status).toBe(200)
  // What came before it was set counts.
  await eventually('the limit holds', async () => (await submit(key)).status === 429)
  await api.call('POST', `/v1/admin/tenants/${tenant}`, { body: { limits: {} } })
  await eventually('it is gone', async () => (await submit(key)).status === 202)
})

test('a job that may cost more than the day has left is refused and not retried; what it holds is given back at its end', async () => {
  const { tenant, key } = await tenantWith({ limits: { usd_per_day: 1 } })
  // A hundred tokens of a cent each.
  const dear = { output_cost_per_token: 0.01, input_cost_per_token: 0 }
  const asked = async (tokens: number) => {
    const model = { model: 'openai/gpt-test', api_key: 'sk-client', ...dear }
    const userConfig = { model_list: [{ model_name: 'mine', litellm_params: model }] }
    const body = { ...ask(), user_config: userConfig, max_tokens: tokens }
    return api.call('POST', '/v1/jobs', { key, body: { endpoint: '/v1/chat/completions', body } })
  }
  const first = await asked(80)
  expect(first.status).toBe(202)
  const limits = async () => (await api.call('GET', '/v1/limits', { key })).json.tenant.usd_per_day
  const midnight = (Math.floor(Date.now() / DAY_MS) + 1) * (DAY_MS / 1000)
  expect(await limits()).toEqual({ limit: 1, used: 0.8, remaining: 0.2, resets_at: midnight })
  const refused = await asked(21)
  expect(refused.status).toBe(429)
  expect(refused.json).toMatchObject({ error: { type: 'insufficient_quota', code: 'insufficient_quota' } })
  expect(refused.headers['x-should-retry']).toBe('false')
  expect((await asked(20)).status).toBe(202)
  const cancelled = await api.call('POST', `/v1/jobs/${first.json.id}/cancel`, { key })
  expect(cancelled.json.status).toBe('cancelled')
  expect(await limits()).toMatchObject({ used: 0.2 })
  expect(parseAccount(await api.store.redis.get(api.store.keys.account(tenant))).held).toBe(200_000)
})

test('a tenant sees each limit, what is used of it now and when that clears; also of a customer', async () => {
  const { key } = await tenantWith({
    limits: { requests_per_minute: 100, jobs_waiting: 10, bytes_stored: 1_000_000, jobs_concurrent: 0 },
    customer_limits: { jobs_waiting: 1 },
  })
  await submit(key, { customer: 'cust' })
  await submit(key)
  const { status, json } = await api.call('GET', '/v1/limits?customer=cust', { key })
  expect(status).toBe(200)
  expect(json).toMatchObject({
    object: 'limits',
    tenant: {
      requests_per_minute: { limit: 100, used: 2, remaining: 98, resets_at: expect.any(Number) as number },
      jobs_waiting: { limit: 10, used: 2, remaining: 8, resets_at: null },
      jobs_concurrent: { limit: 0, used: 0, remaining: 0, resets_at: null },
      usd_per_day: { limit: null, used: 0, remaining: null, resets_at: null },
    },
    customer: { jobs_waiting: { limit: 1, used: 1, remaining: 0, resets_at: null } },
  })
  expect(json.tenant.bytes_stored.used).toBeGreaterThan(8_000)
  expect((await api.call('GET', '/v1/limits', { key })).json.customer).toBeNull()
  expect((await submit(key, { customer: 'cust' })).json.error.code).toBe('queue_full')
})

const field = (customer: string, model: string) => JSON.stringify([customer, 'key_1', model])

test('usage is shown by days and what it is grouped by, a page of days at a time', async () => {
  const { tenant, key } = await tenantWith({})
  const day = Math.floor(Date.now() / DAY_MS)
  await api.store.redis.hset(
    api.store.keys.usageOf(tenant, String(day)),
    field('a', 'x'), '3 2 30 40 500000', field('a', 'y'), '1 1 1 1 250000.5', field('b', 'x'), '1 1 5 5 0.000001',
  ) // oxfmt-ignore
  const read = async (query: string) => (await api.call('GET', `/v1/usage?${query}`, { key })).json
  const total = {
    requests: 5,
    completed: 4,
    input_tokens: 36,
    output_tokens: 46,
    cost_usd: 0.750_000_500_001,
  }
  const week = await read('')
  expect(week.data).toHaveLength(7)
  const ofNone = { object: 'usage.result', customer: null, key: null, model: null }
  expect(week.data.at(-1)).toEqual({
    object: 'bucket', day: TODAY, start_time: (day * DAY_MS) / 1000, end_time: ((day + 1) * DAY_MS) / 1000,
    results: [{ ...ofNone, ...total }],
  }) // oxfmt-ignore
  expect(week.data[0].results).toEqual([])
  const grouped = await read(`start=${TODAY}&end=${Math.floor(Date.now() / 1000)}&group_by=customer,key`)
  expect(grouped.data[0].results).toMatchObject([
    { customer: 'a', key: 'key_1', model: null, requests: 4, cost_usd: 0.750_000_5 },
    { customer: 'b', key: 'key_1', model: null, requests: 1 },
  ])
  const first = await read('limit=4&group_by=day')
  expect(first).toMatchObject({ object: 'page', has_more: true })
  const second = await read(`limit=4&page=${first.next_page}`)
  expect([...first.data, ...second.data]).toEqual(week.data)
  expect(second).toMatchObject({ has_more: false, next_page: null })

  const other = await api.apiKeys.create('somebody-else', { scopes: ['read', 'admin'] })
  const path = `/v1/admin/tenants/${tenant}/usage?start=${TODAY}`
  expect((await api.call('GET', path)).json.data[0].results).toMatchObject([total])
  expect((await api.call('GET', path, { key: other.key })).status).toBe(404)
  expect((await api.call('GET', path, { key })).status).toBe(403)
})

test.each([
  ['start=2026-02-30x', 'start'],
  ['end=yesterday', 'end'],
  ['start=2026-11-02&end=2026-11-01', 'start'],
  ['start=2020-01-01&end=2026-01-01', 'start'],
  ['group_by=colour', 'group_by'],
  ['page=2020-01-01', 'page'],
  ['limit=32', 'limit'],
  ['start=2026-13-45', 'start'],
  ['what=ever', 'what'],
])('a query of usage that makes no sense is a 400 that names what: %s', async (query, param) => {
  const { status, json } = await api.call('GET', `/v1/usage?${query}`)
  expect(status).toBe(400)
  expect(json.error.param).toBe(param)
  expect(json.error.message).not.toContain('colour')
})
