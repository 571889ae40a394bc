import { expect, test } from 'vitest'
import { DAY_MS } from '../../shared/tenants/usage.ts'
import { batchesOf, inputLines } from '../support/batches.ts'
import { eventually, gate } from '../support/eventually.ts'
import { completion } from '../support/provider.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { gateway, provider, useGateway } from '../support/stage.ts'

useGateway({ workers: 1 })

let number = 0

/** A tenant of its own with a key of it. */
async function tenantWith(settings: object): Promise<{ tenant: string; key: string }> {
  const tenant = `t-${(number += 1)}`
  const made = await gateway.call('POST', '/v1/admin/tenants', { body: { id: tenant, ...settings } })
  expect(made.status).toBe(200)
  return { tenant, key: await gateway.tenantKey(tenant, { scopes: ['submit', 'read'] }) }
}

/** Calls that cost a cent for each token of the answer, of which there are five. */
const config = () =>
  ownConfig({
    url: provider.url,
    key: `sk-own-${(number += 1)}`,
    input_cost_per_token: 0,
    output_cost_per_token: 0.01,
  })

type Limits = Record<string, { used: number; remaining: number }>
async function used(key: string): Promise<Limits> {
  const { json } = await gateway.call('GET', '/v1/limits', { key })
  return (json as { tenant: Limits }).tenant
}

type Row = {
  requests: number
  completed: number
  cost_usd: number
  customer: string | null
  key: string | null
}
async function usageOf(key: string, groupBy: string, day = Math.floor(Date.now() / 1000)): Promise<Row[]> {
  const path = `/v1/usage?start=${day}&end=${day}&group_by=${groupBy}`
  const { json } = await gateway.call('GET', path, { key })
  return (json as { data: { results: Row[] }[] }).data[0]?.results ?? []
}

const submit = (key: string, body: object) =>
  gateway.call('POST', '/v1/jobs', { key, body: { endpoint: '/v1/chat/completions', body } })

/** The code that each was refused with. */
const codes = (answers: readonly { json: unknown }[]) =>
  answers.map(({ json }) => (json as { error?: { code: string } | null }).error?.code ?? 'accepted')

const countOf = (all: readonly string[], code: string) => all.filter((one) => one === code).length

const atOnce = <T>(count: number, call: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, index) => call(index)))

test('of submits that come at once no more are taken than the minute, the line and the budget have room for', async () => {
  const hold = gate()
  provider.answer(() => ({ ...completion('ok'), until: hold.opened }))
  const userConfig = config()

  const byMinute = await tenantWith({ limits: { requests_per_minute: 17 } })
  const minute = codes(await atOnce(60, () => submit(byMinute.key, ask(userConfig))))
  expect([countOf(minute, 'accepted'), countOf(minute, 'rate_limit_exceeded')]).toEqual([17, 43])

  const byBudget = await tenantWith({ limits: { usd_per_day: 1 } })
  // Five tokens at most: five cents each.
  const dear = { ...ask(userConfig), max_tokens: 5 }
  const budget = codes(await atOnce(200, () => submit(byBudget.key, dear)))
  expect([countOf(budget, 'accepted'), countOf(budget, 'insufficient_quota')]).toEqual([20, 180])
  expect((await used(byBudget.key))['usd_per_day']).toMatchObject({ used: 1, remaining: 0 })

  const byLine = await tenantWith({ limits: { jobs_waiting: 9, jobs_concurrent: 2 } })
  const line = codes(await atOnce(60, () => submit(byLine.key, ask(userConfig))))
  expect([countOf(line, 'accepted'), countOf(line, 'queue_full')]).toEqual([11, 49])

  hold.open()
  await eventually('all is spent that was held, and no more', async () => {
    const { usd_per_day: usd } = await used(byBudget.key)
    const rows = await usageOf(byBudget.key, 'day')
    return usd?.used === 1 && rows[0]?.requests === 20 && rows[0].cost_usd === 1
  })
})

test('money is counted once: by two hundred polls, replays, retries and readers no more', async () => {
  const { key } = await tenantWith({ limits: { usd_per_day: 10 } })
  const body = { ...ask(config()), max_tokens: 50 }
  const headers = { 'idempotency-key': 'once' }
  const request = { key, headers, body: { endpoint: '/v1/chat/completions', customer: 'cust', body } }
  const accepted = await atOnce(10, () => gateway.call('POST', '/v1/jobs', request))
  const ids = new Set(accepted.map(({ json }) => (json as { id: string }).id))
  expect(ids.size).toBe(1)
  const [id = ''] = ids
  await gateway.ended(id, { key })
  const spent = { used: 0.05, remaining: 9.95 }
  expect((await used(key))['usd_per_day']).toMatchObject(spent)
  for (let round = 0; round < 2; round += 1) await atOnce(100, () => gateway.call('GET', `/v1/jobs/${id}`, { key })) // oxfmt-ignore
  await gateway.call('GET', `/v1/jobs/${id}/result`, { key })
  await gateway.call('POST', `/v1/jobs/${id}/cancel`, { key })
  await gateway.call('POST', '/v1/jobs', request)
  expect((await used(key))['usd_per_day']).toMatchObject(spent)
  const rows = await eventually('it is summed up', async () => {
    const found = await usageOf(key, 'customer,key')
    return found.length > 0 && found
  })
  expect(rows).toMatchObject([{ customer: 'cust', requests: 1, completed: 1, cost_usd: 0.05 }])
  expect(rows[0]?.key).toMatch(/^key_/)
  await gateway.call('DELETE', `/v1/jobs/${id}`, { key })
  expect((await used(key))['usd_per_day']).toMatchObject(spent)
})

test('what lost workers had held comes back with the jobs and lines that they held it for', async () => {
  const { key } = await tenantWith({ limits: { usd_per_day: 100 } })
  const hold = gate()
  let calls = 0
  provider.answer(() => ((calls += 1) <= 4 ? { kind: 'hang' } : { ...completion('ok'), until: hold.opened }))
  const batches = batchesOf(gateway, key)
  const userConfig = config()
  const lost = { ...ask(userConfig), max_tokens: 100 }
  const one = await gateway.submit(lost, {}, key)
  const other = await gateway.submit(lost, { on_crash: 'fail' }, key)
  const batch = await batches.start(inputLines(2), { user_config: userConfig, max_tokens: 100 })
  await eventually('all are in flight', () => provider.ledger.length === 4)
  expect((await used(key))['usd_per_day']).toMatchObject({ used: 4 })

  const [worker] = gateway.workers
  await gateway.addWorker()
  worker?.kill('SIGKILL')
  await worker?.ended()
  hold.open()
  expect(await gateway.ended(one.id, { key })).toMatchObject({ status: 'completed' })
  expect(await gateway.ended(other.id, { key })).toMatchObject({ status: 'failed' })
  expect(await batches.ended(batch.id)).toMatchObject({ status: 'completed' })
  // Three answers of five cents; nothing is held any more.
  await eventually('it came back', async () => (await used(key))['usd_per_day']?.used === 0.15)
  const rows = await eventually('it is summed up', async () => {
    const [row] = await usageOf(key, 'day')
    return row?.requests === 4 && row
  })
  expect(rows).toMatchObject({ completed: 3, cost_usd: 0.15 })
})

test('lines that the budget has no room for fail without a call, and a higher one holds at once', async () => {
  const { tenant, key } = await tenantWith({
    limits: { usd_per_day: 0.1 },
    customer_limits: { usd_per_day: 5 },
  })
  const batches = batchesOf(gateway, key)
  const defaults = { user_config: config(), max_tokens: 5, customer: 'cust' }
  const first = await batches.ended((await batches.start(inputLines(8), defaults)).id)
  expect(first).toMatchObject({ status: 'completed', request_counts: { completed: 2, failed: 6 } })
  expect(provider.ledger).toHaveLength(2)
  const { error } = await batches.results(first)
  expect(error.map((line) => line.response?.body ?? line.error)).toEqual(
    Array.from({ length: 6 }, () => expect.objectContaining({ error: expect.objectContaining({ code: 'insufficient_quota' }) as object })),
  ) // oxfmt-ignore
  const limits = { usd_per_day: 100 }
  await gateway.call('POST', `/v1/admin/tenants/${tenant}`, { body: { limits } })
  const retried = await batches.retry(first.id, defaults)
  expect(retried.status).toBe(200)
  const second = await batches.ended((retried.json as { id: string }).id)
  expect(second).toMatchObject({ request_counts: { completed: 6, failed: 0 } })
  await eventually('each line is summed up once', async () => {
    const [row] = await usageOf(key, 'customer')
    return row?.requests === 14 && row.completed === 8 && row.cost_usd === 0.4 && row.customer === 'cust'
  })
})

test('a day that is over is a file of its tenant, made once by all workers', async () => {
  const { tenant, key } = await tenantWith({})
  await gateway.addWorker()
  const yesterday = Math.floor(Date.now() / DAY_MS) - 1
  const date = new Date(yesterday * DAY_MS).toISOString().slice(0, 10)
  const news = (customer: string | null, tokens: number) =>
    `${yesterday} ${JSON.stringify([tenant, customer, 'key_1', 'gpt', 'completed', tokens, 2, 1_500])}`
  await gateway.redis.rpush(gateway.keys.usageNews, news(null, 3), news('cust', 4), news('cust', 5))
  const files = async () => {
    const { json } = await gateway.call('GET', '/v1/files?purpose=usage', { key })
    return (json as { data: { id: string; filename: string; bytes: number }[] }).data
  }
  const [file] = await eventually('it is exported', async () => {
    const found = await files()
    return found.length > 0 && found
  })
  expect(file).toMatchObject({ filename: `usage-${date}.jsonl`, purpose: 'usage' })
  const path = `/v1/files/${file?.id ?? ''}`
  const content = await gateway.call('GET', `${path}/content`, { key })
  expect(content.text.length).toBe(file?.bytes)
  const line = { day: date, tenant, key: 'key_1', model: 'gpt' }
  expect(
    content.text
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text) as unknown),
  ).toEqual([
    {
      ...line,
      customer: 'cust',
      requests: 2,
      completed: 2,
      input_tokens: 9,
      output_tokens: 4,
      cost_usd: 0.003,
    },
    {
      ...line,
      customer: null,
      requests: 1,
      completed: 1,
      input_tokens: 3,
      output_tokens: 2,
      cost_usd: 0.0015,
    },
  ])
  const stranger = await tenantWith({})
  expect((await gateway.call('GET', `${path}/content`, { key: stranger.key })).status).toBe(404)
  expect((await gateway.call('DELETE', path, { key })).status).toBe(200)
  // Another day of another tenant comes after it: had it been made anew, it would be there by then.
  await gateway.redis.rpush(gateway.keys.usageNews, news(null, 3).replace(tenant, stranger.tenant))
  await eventually('the next one is there', async () => {
    const { json } = await gateway.call('GET', '/v1/files', { key: stranger.key })
    return (json as { data: object[] }).data.length === 1
  })
  expect(await files()).toEqual([])
  expect(await gateway.redis.zcount(gateway.keys.usageDays, '-inf', Date.now())).toBe(0)
})
