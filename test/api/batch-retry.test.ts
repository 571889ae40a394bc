import { afterAll, beforeAll, expect, test } from 'vitest'
import { batchStage, requestLine, type BatchStage } from './batch-stage.ts'
import { startApi, type TestApi } from './fixture.ts'

let api: TestApi
let stage: BatchStage
beforeAll(async () => {
  api = await startApi()
  stage = batchStage(api)
})
afterAll(() => api.close())

const retry = (id: string, body?: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', `/v1/batches/${id}/retry`, { ...(body === undefined ? {} : { body }), headers })

/** Lines of their own, each with a key. */
const keyed = (count: number) =>
  Array.from({ length: count }, (_, line) => requestLine(`line-${line}`, { api_key: `sk-${line}` }))

test('the lines that failed, expired and were cancelled are run again, as they were and in their order', async () => {
  const old = await stage.end(['failed', 'completed', 'expired', 'cancelled', 'completed'])
  const answer = await retry(old.id)
  expect(answer.status).toBe(200)
  const batch = answer.json
  expect(batch).toMatchObject({ status: 'validating', retry_of: old.id, endpoint: old.endpoint })
  expect(batch.id).not.toBe(old.id)
  expect(await stage.inputOf(batch)).toEqual([
    requestLine('line-0'),
    requestLine('line-2'),
    requestLine('line-3'),
  ])
})

test('a retry has what the batch had, but for what it says anew', async () => {
  const fields = {
    completion_window: '3h',
    metadata: { a: '1' },
    concurrency: 7,
    max_errors: 2,
    ordered_output: true,
    priority: 'low',
    customer: 'c1',
    num_retries: 1,
    temperature: 0.5,
  }
  const old = await stage.end(['failed'], fields)
  const same = (await retry(old.id)).json
  expect(same).toMatchObject({
    completion_window: '3h',
    metadata: { a: '1' },
    concurrency: 7,
    max_errors: 2,
    ordered_output: true,
    priority: 'low',
    customer: 'c1',
  })
  expect(await stage.defaultsOf(same.id)).toEqual({ num_retries: 1, temperature: 0.5 })
  const changed = (
    await retry(old.id, {
      completion_window: '5m',
      concurrency: 9,
      max_errors: null,
      metadata: null,
      num_retries: 3,
    })
  ).json
  expect(changed).toMatchObject({ completion_window: '5m', concurrency: 9, max_errors: null, metadata: null })
  expect(changed.expires_at - changed.created_at).toBe(300)
  expect(await stage.defaultsOf(changed.id)).toEqual({ num_retries: 3, temperature: 0.5 })
})

test('a batch that had credentials needs fresh ones, and what went with the old ones is not taken over', async () => {
  const old = await stage.end(['failed'], {
    api_key: 'sk-old',
    custom_llm_provider: 'openai',
    num_retries: 1,
  })
  const without = await retry(old.id)
  expect([without.status, without.json.error.code]).toEqual([400, 'credentials_required'])
  expect(without.json.error.message).toContain('"line-0"')
  const elsewhere = await retry(old.id, { api_key: 'sk-new' })
  expect([elsewhere.status, elsewhere.json.error.param]).toEqual([400, 'custom_llm_provider'])
  const { json, status } = await retry(old.id, { api_key: 'sk-new', custom_llm_provider: null })
  expect(status).toBe(200)
  expect(await stage.defaultsOf(json.id)).toMatchObject({ api_key: 'sk-new', num_retries: 1 })
  const stored = (await api.call('POST', '/v1/credentials', { body: { api_key: 'sk-s' } })).json.id
  expect((await retry(old.id, { credential: stored })).status).toBe(200)
})

test('fresh keys alone, for all lines or for one, go to no other base than the old ones were for', async () => {
  const api_base = 'https://llm.example.com/v1'
  const ofAll = await stage.end(['failed'], { api_key: 'sk-old', api_base })
  const key = { api_key: 'sk-new' }
  const forAll = await retry(ofAll.id, key)
  expect([forAll.status, forAll.json.error.param]).toEqual([400, 'api_base'])
  const ofOne = await stage.end(['failed'], {
    requests: [requestLine('line-0', { api_key: 'sk', api_base })],
  })
  const forOne = { credentials: { 'line-0': key } }
  for (const [old, given] of [
    [ofAll, forOne],
    [ofOne, forOne],
    [ofOne, key],
  ] as const) {
    const { status, json } = await retry(old.id, given)
    expect([status, json.error.code]).toEqual([400, 'credentials_required'])
    expect(json.error.message).toContain('`api_base` of line "line-0"')
  }
  const whole = { ...key, api_base }
  for (const [old, given] of [
    [ofAll, whole],
    [ofOne, { credentials: { 'line-0': whole } }],
    [ofOne, whole],
    [ofOne, { ...key, api_base: null }],
  ] as const) {
    expect((await retry(old.id, given)).status).toBe(200)
  }
})

test('headers and bodies of the whole batch that may have held a key must be said anew, or be left out', async () => {
  const old = await stage.end(['failed'], { api_key: 'sk-old', extra_body: { store: true } })
  const { status, json } = await retry(old.id, { api_key: 'sk-new' })
  expect([status, json.error.param, json.error.code]).toEqual([400, 'extra_body', 'credentials_required'])
  const left = await retry(old.id, { api_key: 'sk-new', extra_body: null })
  expect([left.status, left.json.status]).toEqual([200, 'validating'])
})

test('lines with keys of their own need new ones, each its own or one for all', async () => {
  const old = await stage.end(['failed', 'completed', 'failed'], { requests: keyed(3) })
  const without = await retry(old.id, { credentials: { 'line-0': { api_key: 'sk-new-0' } } })
  expect([without.status, without.json.error.code]).toEqual([400, 'credentials_required'])
  expect(without.json.error.message).toContain('"line-2"')

  const own = { 'line-0': { api_key: 'sk-new-0' }, 'line-2': { user_config: { model_list: [] } } }
  const bad = await retry(old.id, { credentials: own })
  expect([bad.status, bad.json.error.param]).toEqual([400, 'credentials["line-2"].user_config.model_list'])

  const each = await retry(old.id, {
    credentials: { 'line-0': { api_key: 'sk-new-0' }, 'line-2': { api_key: 'sk-new-2' } },
  })
  expect(each.status).toBe(200)
  expect(await stage.inputOf(each.json)).toEqual([
    requestLine('line-0', { api_key: '[erased]' }),
    requestLine('line-2', { api_key: '[erased]' }),
  ])
  const all = await retry(old.id, { api_key: 'sk-for-all' })
  expect(await stage.inputOf(all.json)).toEqual([requestLine('line-0'), requestLine('line-2')])
  expect(await stage.defaultsOf(all.json.id)).toEqual({ api_key: 'sk-for-all' })
})

test('a key that stood in the body of a line is replaced by the new one beside it', async () => {
  const requests = [requestLine('line-0', {}, { api_key: 'sk-old', temperature: 1 })]
  const old = await stage.end(['failed'], { requests })
  const { json } = await retry(old.id, { credentials: { 'line-0': { api_key: 'sk-new' } } })
  expect(await stage.inputOf(json)).toEqual([
    requestLine('line-0', { api_key: '[erased]' }, { temperature: 1 }),
  ])
})

test('what else a line lost, such as its headers, must be said anew for it or for all', async () => {
  const requests = [requestLine('line-0', { extra_headers: { 'x-team': 'a' } })]
  const old = await stage.end(['failed'], { requests })
  const { status, json } = await retry(old.id)
  expect([status, json.error.code]).toEqual([400, 'credentials_required'])
  expect(json.error.message).toContain('`extra_headers`')
  expect((await retry(old.id, { credentials: { 'line-0': { extra_headers: null } } })).status).toBe(200)
  expect((await retry(old.id, { extra_headers: { 'x-team': 'b' } })).status).toBe(200)
})

test.each([
  ['credentials["line-0"].body', { 'line-0': { body: {} } }],
  ['credentials["line-0"].custom_id', { 'line-0': { custom_id: 'x' } }],
  ['credentials["line-0"].temperature', { 'line-0': { temperature: 1 } }],
  ['credentials["line-1"]', { 'line-0': { api_key: 'k' }, 'line-1': { api_key: 'k' } }],
  ['credentials["nobody"]', { 'line-0': { api_key: 'k' }, nobody: { api_key: 'k' } }],
])('%s is no place for fresh credentials', async (param, credentials) => {
  const old = await stage.end(['failed', 'completed'], { requests: keyed(2) })
  const used = await api.batches.files.bytesUsed('default')
  const { status, json } = await retry(old.id, { credentials })
  expect([status, json.error.param, json.error.code]).toEqual([400, param, 'unknown_parameter'])
  expect(await api.batches.files.bytesUsed('default')).toBe(used)
})

test('a batch that goes on, one that is all done, and one that never ran have nothing to retry', async () => {
  const { id: running } = await stage.create()
  const goesOn = await retry(running)
  expect([goesOn.status, goesOn.json.error.code]).toEqual([400, 'batch_not_ended'])
  expect(goesOn.json.error.message).toContain('validating')
  await stage.refuse(running)
  const refused = await retry(running)
  expect([refused.status, refused.json.error.code]).toEqual([400, 'nothing_to_retry'])
  expect(refused.json.error.message).toContain('refused')
  const done = await retry((await stage.end(['completed'])).id)
  expect([done.status, done.json.error.code]).toEqual([400, 'nothing_to_retry'])
})

test('a batch whose input is gone can not be retried', async () => {
  const old = await stage.end(['failed'])
  expect(await api.batches.files.remove('default', old.input_file_id)).toBe('removed')
  const { status, json } = await retry(old.id)
  expect([status, json.error.code]).toEqual([400, 'file_not_found'])
})

test.each([
  ['endpoint', { endpoint: '/v1/embeddings' }, 'unknown_parameter'],
  ['requests', { requests: [] }, 'unknown_parameter'],
  ['input_file_id', { input_file_id: 'file-1' }, 'unknown_parameter'],
  ['completion_window', { completion_window: '1m' }, 'invalid_parameter'],
  ['credentials', { credentials: [] }, 'invalid_parameter'],
  ['concurrenc', { concurrenc: 1 }, 'unknown_parameter'],
  ['api_key', { api_key: 'sk-1', user_config: {} }, 'ambiguous_credentials'],
  ['webhook.url', { webhook: { url: 'http://127.0.0.1/' } }, 'url_not_allowed'],
])('a retry with %s is refused', async (param, body, code) => {
  const old = await stage.end(['failed'])
  const { status, json } = await retry(old.id, body)
  expect([status, json.error.param, json.error.code]).toEqual([400, param, code])
})

test('the same key of a retry gives the same new batch', async () => {
  const old = await stage.end(['failed'])
  const headers = { 'idempotency-key': 'again' }
  const first = await retry(old.id, {}, headers)
  const second = await retry(old.id, {}, headers)
  expect(second.json.id).toBe(first.json.id)
  expect(second.headers['idempotent-replayed']).toBe('true')
  const other = await stage.end(['failed'])
  expect((await retry(other.id, {}, headers)).json.retry_of).toBe(other.id)
})

test('a retry can be retried', async () => {
  const first = await stage.end(['failed', 'failed'])
  const second = (await retry(first.id)).json
  const { settle, finish } = await stage.begin(second.id, 2)
  await settle(0)
  await settle(1, 'failed')
  await finish()
  const third = await retry(second.id)
  expect(third.json.retry_of).toBe(second.id)
  expect(await stage.inputOf(third.json)).toEqual([requestLine('line-1')])
})

test('a retry is told to the endpoints of its batch, unless it names others, which must be there', async () => {
  const body = { name: 'x', url: 'https://hook.example/', event_types: ['batch.completed'] }
  const make = async () => (await api.call('POST', '/v1/webhook_endpoints', { body })).json.id as string
  const [first, second] = [await make(), await make()]
  const old = await stage.end(['failed'], { webhook_endpoint_ids: [first] })
  const toldTo = async (ids?: unknown) => {
    const { json } = await retry(old.id, ids === undefined ? undefined : { webhook_endpoint_ids: ids })
    const meta = (await api.store.redis.hget(api.store.keys.batch(json.id), 'meta')) ?? '{}'
    return JSON.parse(meta).webhookEndpointIds
  }
  expect(await toldTo()).toEqual([first])
  expect(await toldTo([second])).toEqual([second])
  expect(await toldTo(null)).toBeUndefined()
  const unknown = await retry(old.id, { webhook_endpoint_ids: ['whe_0'] })
  expect(unknown.json.error).toMatchObject({
    param: 'webhook_endpoint_ids[0]',
    code: 'webhook_endpoint_not_found',
  })
  // One that is gone since is no reason to refuse what nobody names.
  await api.call('DELETE', `/v1/webhook_endpoints/${first}`)
  expect((await retry(old.id)).status).toBe(200)
})
