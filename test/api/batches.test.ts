import { afterAll, beforeAll, expect, test } from 'vitest'
import { Batch, BatchList } from '../../shared/schemas/batch.ts'
import { ask, batchStage, requestLine, type BatchStage } from './batch-stage.ts'
import { startApi, type TestApi } from './fixture.ts'

let api: TestApi
let stage: BatchStage
let otherKey: string
beforeAll(async () => {
  api = await startApi()
  stage = batchStage(api)
  otherKey = (await api.apiKeys.create('other')).key
})
afterAll(() => api.close())

const post = (body: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', '/v1/batches', { body, headers })

test("a new batch is OpenAI's object with every field there, and says what else was asked for", async () => {
  const answer = await post(
    ask({
      metadata: { job: 'nightly' },
      completion_window: '2h',
      output_expires_after: { anchor: 'created_at', seconds: 3_600 },
      concurrency: 5,
      max_errors: 0,
      ordered_output: true,
      priority: 'high',
      customer: 'c1',
    }),
  )
  expect(answer.status).toBe(200)
  const batch = Batch.strict().parse(answer.json)
  expect(batch).toEqual({
    id: expect.stringMatching(/^batch_[0-9a-f]{40}$/),
    object: 'batch',
    endpoint: '/v1/chat/completions',
    model: null,
    errors: null,
    input_file_id: expect.stringMatching(/^file-[0-9a-f]{40}$/),
    completion_window: '2h',
    status: 'validating',
    output_file_id: null,
    error_file_id: null,
    created_at: expect.closeTo(Date.now() / 1000, -1),
    in_progress_at: null,
    expires_at: batch.created_at + 7_200,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 0, completed: 0, failed: 0 },
    usage: {
      input_tokens: 0,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: 0,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 0,
    },
    metadata: { job: 'nightly' },
    progress: { queued: 0, in_progress: 0, parked: 0, completed: 0, failed: 0, expired: 0, cancelled: 0 },
    cost: null,
    customer: 'c1',
    priority: 'high',
    concurrency: 5,
    max_errors: 0,
    ordered_output: true,
    retry_of: null,
    result_expires_at: null,
    warnings: [],
  })
  expect(await stage.read(batch.id)).toEqual(batch)
})

test('a batch that was asked for with no more than it needs has defaults, and metadata null', async () => {
  expect(await stage.create()).toMatchObject({
    metadata: null,
    customer: null,
    priority: 'normal',
    concurrency: null,
    max_errors: null,
    ordered_output: false,
  })
})

test('an uploaded file is the input of a batch, and lines without a file are made one', async () => {
  const inline = await stage.create(ask({ requests: [requestLine('x', { url: '/v1/chat/completions' })] }))
  expect(await stage.inputOf(inline)).toEqual([requestLine('x', { url: '/v1/chat/completions' })])
  const { requests: _, ...asked } = ask()
  const second = await stage.create({ ...asked, input_file_id: inline.input_file_id })
  expect(second.input_file_id).toBe(inline.input_file_id)
})

test('numbers of a line that no double holds come into its file as they were written', async () => {
  const text = JSON.stringify(ask({ requests: [requestLine('x', {}, { seed: 1 })] }))
  const { json: batch } = await post(text.replace('"seed":1', '"seed":12345678901234567890'))
  const file = await api.batches.files.read('default', batch.input_file_id)
  expect(file?.lines).toBe(1)
  const { bytes, frameBytes, id: fileId, tenant } = file ?? { bytes: 0, frameBytes: 0, id: '', tenant: '' }
  for await (const line of api.batches.input.text({ tenant, fileId, bytes, frameBytes, lines: 1 }, [0])) {
    expect(line.text.toString()).toContain('"seed":12345678901234567890')
  }
})

test('what is no field of a batch lies under its lines, sealed, and nothing of it is shown', async () => {
  const secret = 'sk-canary-of-a-batch'
  const batch = await stage.create(ask({ api_key: secret, num_retries: 99, temperature: 0.5, tags: ['t'] }))
  expect(batch.warnings).toEqual([expect.stringContaining('num_retries')])
  expect(JSON.stringify(batch)).not.toContain(secret)
  const record = await api.store.redis.hgetall(api.store.keys.batch(batch.id))
  expect(JSON.stringify(record)).not.toContain(secret)
  const under = await stage.defaultsOf(batch.id)
  expect(under).toEqual({ api_key: secret, num_retries: 99, temperature: 0.5, tags: ['t'] })
})

test('the headers that stand instead of fields are defaults of the lines, and name the customer', async () => {
  const headers = { 'x-litellm-num-retries': '1', 'x-litellm-customer-id': 'c7' }
  const batch = await stage.create(ask(), { headers })
  expect(batch.customer).toBe('c7')
  expect(await stage.defaultsOf(batch.id)).toEqual({ num_retries: 1 })
})

test('the credentials of a line do not rest in the file it is made', async () => {
  const batch = await stage.create(ask({ requests: [requestLine('x', { api_key: 'sk-canary' })] }))
  expect(await stage.inputOf(batch)).toEqual([requestLine('x', { api_key: '[erased]' })])
})

test('the same idempotency key gives the same batch, another body with it is refused, and no file is left over', async () => {
  const before = await api.batches.files.bytesUsed('default')
  const headers = { 'idempotency-key': 'once' }
  const first = await post(ask(), headers)
  const used = await api.batches.files.bytesUsed('default')
  expect(used).toBeGreaterThan(before)
  const again = await post(ask(), headers)
  const inBody = await post(ask({ idempotency_key: 'once' }))
  const other = await post(ask({ metadata: { other: 'yes' } }), headers)
  expect(first.headers['idempotent-replayed']).toBeUndefined()
  expect(again.json.id).toBe(first.json.id)
  expect(again.headers['idempotent-replayed']).toBe('true')
  expect([inBody.status, inBody.json.error.code]).toEqual([422, 'idempotency_mismatch'])
  expect([other.status, other.json.error.code]).toEqual([422, 'idempotency_mismatch'])
  expect(await api.batches.files.bytesUsed('default')).toBe(used)
})

test('batches are listed newest first, page by page, and a tenant sees none of another', async () => {
  const own = await api.apiKeys.create('pages')
  const made: string[] = []
  for (let count = 0; count < 5; count += 1) made.push((await stage.create(ask(), { key: own.key })).id)
  const seen: string[] = []
  for (let after = ''; ;) {
    const { json, status } = await api.call('GET', `/v1/batches?limit=2${after}`, { key: own.key })
    expect(status).toBe(200)
    const page = BatchList.parse(json)
    seen.push(...page.data.map(({ id }) => id))
    expect([page.first_id, page.last_id]).toEqual([page.data[0]?.id, page.data.at(-1)?.id])
    if (!page.has_more) break
    after = `&after=${page.last_id}`
  }
  expect(seen).toEqual(made.toReversed())
  const empty = await api.call('GET', '/v1/batches', { key: otherKey })
  expect(empty.json).toEqual({ object: 'list', data: [], first_id: null, last_id: null, has_more: false })
  const foreign = await api.call('GET', `/v1/batches?after=${made[0]}`, { key: otherKey })
  expect([foreign.status, foreign.json.error.param]).toEqual([400, 'after'])
})

test.each(['limit=0', 'limit=101', 'limit=x'])('a page of %s is refused', async (query) => {
  const { status, json } = await api.call('GET', `/v1/batches?${query}`)
  expect([status, json.error.param]).toEqual([400, 'limit'])
})

test('what can be done with a batch can be done by its tenant only, and an unknown one is not there', async () => {
  const { id } = await stage.create()
  for (const [method, path] of [
    ['GET', ''],
    ['GET', '?wait=1'],
    ['POST', '/cancel'],
    ['POST', '/retry'],
    ['GET', '/events'],
    ['GET', '/output'],
    ['GET', '/requests'],
  ] as const) {
    const foreign = await api.call(method, `/v1/batches/${id}${path}`, { key: otherKey })
    expect([path, foreign.status, foreign.json.error.code]).toEqual([path, 404, 'not_found'])
    const unknown = await api.call(method, `/v1/batches/batch_unknown${path}`)
    expect([path, unknown.status, unknown.json.error.code]).toEqual([path, 404, 'not_found'])
  }
  expect((await stage.read(id)).status).toBe('validating')
})

test('a batch that is not kept any more is gone, not unknown', async () => {
  const { id } = await stage.create()
  await api.store.redis.del(api.store.keys.batch(id))
  const { status, json } = await api.call('GET', `/v1/batches/${id}`)
  expect([status, json.error.code]).toEqual([410, 'result_expired'])
})

test('both forms of the address serve batches', async () => {
  const { id } = await stage.create()
  expect((await api.call('GET', `/batches/${id}`)).json.id).toBe(id)
  expect((await api.call('GET', `/v1/batches/${id}/`)).json.id).toBe(id)
})
