import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, batchStage, requestLine, type BatchStage } from './batch-stage.ts'
import { MASTER_KEY, startApi, type TestApi } from './fixture.ts'

let api: TestApi
let stage: BatchStage
beforeAll(async () => {
  api = await startApi({
    configYaml:
      'model_list:\n  - {model_name: ours, litellm_params: {model: openai/gpt-x, api_key: sk-op}}\n',
  })
  stage = batchStage(api)
})
afterAll(() => api.close())

const post = (body: unknown, key?: string) =>
  api.call('POST', '/v1/batches', { body, ...(key === undefined ? {} : { key }) })

async function batchesOf(key = MASTER_KEY): Promise<number> {
  return (await api.call('GET', '/v1/batches?limit=100', { key })).json.data.length
}

const long = (count: number) =>
  Array.from({ length: count }, (_, line) => requestLine(`l${line}`, {}, { user: 'x'.repeat(900_000) }))

const config = (change: object = {}) => ({
  user_config: {
    model_list: [
      { model_name: 'mine', litellm_params: { model: 'openai/gpt-x', api_key: 'sk-x', ...change } },
    ],
  },
})

test.each(['24h', '5m', '90m', '7d', '168h', '10080m'])('a window of %s is taken', async (window) => {
  expect((await stage.create(ask({ completion_window: window }))).completion_window).toBe(window)
})

test.each([
  ['endpoint', { endpoint: undefined }, 'missing_required_parameter'],
  ['endpoint', { endpoint: '/v1/images/generations' }, 'unsupported_endpoint'],
  ['completion_window', { completion_window: undefined }, 'missing_required_parameter'],
  ...['4m', '8d', '0h', '24', '24H', ' 24h', '1.5h', '99999999d'].map(
    (window) => ['completion_window', { completion_window: window }, 'invalid_parameter'] as const,
  ),
  ['input_file_id', { requests: undefined }, 'missing_required_parameter'],
  ['requests', { input_file_id: 'file-1' }, 'invalid_request'],
  ['requests', { requests: [] }, 'invalid_parameter'],
  ['requests', { requests: Array.from({ length: 10_001 }, () => requestLine('x')) }, 'invalid_parameter'],
  ['requests[1].body', { requests: [requestLine('a'), { custom_id: 'b' }] }, 'missing_required_parameter'],
  ['requests[0].custom_id', { requests: [requestLine('')] }, 'invalid_parameter'],
  [
    'metadata',
    { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`k${n}`, 'v'])) },
    'invalid_parameter',
  ],
  ['metadata.k', { metadata: { k: 'v'.repeat(513) } }, 'invalid_parameter'],
  [
    'output_expires_after.anchor',
    { output_expires_after: { anchor: 'now', seconds: 3600 } },
    'invalid_parameter',
  ],
  [
    'output_expires_after.seconds',
    { output_expires_after: { anchor: 'created_at', seconds: 3599 } },
    'invalid_parameter',
  ],
  [
    'output_expires_after.seconds',
    { output_expires_after: { anchor: 'created_at', seconds: 2592001 } },
    'invalid_parameter',
  ],
  ['concurrency', { concurrency: 0 }, 'invalid_parameter'],
  ['concurrency', { concurrency: 10_001 }, 'invalid_parameter'],
  ['max_errors', { max_errors: -1 }, 'invalid_parameter'],
  ['ordered_output', { ordered_output: 'yes' }, 'invalid_parameter'],
  ['priority', { priority: 'urgent' }, 'invalid_parameter'],
  ['customer', { customer: '' }, 'invalid_parameter'],
  ['webhook.urls', { webhook: { url: 'https://hook.example', urls: [] } }, 'unknown_parameter'],
  [
    'webhook.events[0]',
    { webhook: { url: 'https://hook.example', events: ['job.completed'] } },
    'invalid_parameter',
  ],
  ['webhook.url', { webhook: { url: 'http://127.0.0.1/' } }, 'url_not_allowed'],
  ['webhook.secret', { webhook: { url: 'https://hook.example', secret: 'whsec_!' } }, 'invalid_request'],
  ['credentials', { credentials: {} }, 'unknown_parameter'],
  ['idempotency_key', { idempotency_key: 'two words' }, 'invalid_parameter'],
] as const)('%s that is not right is refused by name, %j', async (param, change, code) => {
  const before = await batchesOf()
  const { status, json } = await post(ask(change))
  expect([status, json.error.param, json.error.code]).toEqual([400, param, code])
  expect(await batchesOf()).toBe(before)
})

test.each([
  ['max_error', { max_error: 3 }, 'unknown_parameter', /max_errors/],
  ['orderedOutput', { orderedOutput: true }, 'unknown_parameter', /ordered_output/],
  ['web_hook', { web_hook: { url: 'https://hook.example' } }, 'unknown_parameter', /webhook/],
  ['apikey', { apikey: 'sk-canary' }, 'invalid_request', /api_key/],
  ['callbacks', { callbacks: ['x'] }, 'refused_parameter', /webhook/],
  ['job', { job: { delay: 5 } }, 'invalid_request', /in the body itself/],
  ['stream', { stream: true }, 'unsupported_stream', /no streams/],
  ['num_retries', { num_retries: -1 }, 'invalid_request', /whole number/],
  ['fallbacks', { fallbacks: 'gpt' }, 'invalid_request', /list/],
  ['api_base', { api_key: 'sk-canary', api_base: 'http://10.0.0.1/v1' }, 'url_not_allowed', /./],
  ['api_key', { ...config(), api_key: 'sk-canary' }, 'ambiguous_credentials', /one of the two/],
  ['user_config.model_list', { user_config: {} }, 'invalid_request', /./],
  [
    'user_config.model_list[0].litellm_params.api_base',
    config({ api_base: 'http://10.0.0.1/v1' }),
    'url_not_allowed',
    /./,
  ],
  [
    'user_config.model_list[0].litellm_params.api_key',
    config({ api_key: 'os.environ/KEY' }),
    'refused_reference',
    /./,
  ],
  ['extra_headers', { ...config(), extra_headers: { a: 'b' } }, 'invalid_request', /./],
] as const)('%s under all lines is refused before there is a batch', async (param, change, code, says) => {
  const before = await batchesOf()
  const { status, json, text } = await post(ask(change))
  expect([status, json.error.param, json.error.code]).toEqual([400, param, code])
  expect(json.error.message).toMatch(says)
  expect(text).not.toContain('canary')
  expect(await batchesOf()).toBe(before)
})

test('a gateway that takes no credentials of clients takes none under all lines', async () => {
  const closed = await startApi({ configYaml: 'general_settings: {allow_client_side_credentials: false}\n' })
  try {
    for (const [name, change] of [
      ['api_key', { api_key: 'sk-x' }],
      ['user_config', config()],
    ] as const) {
      const { status, json } = await closed.call('POST', '/v1/batches', { body: ask(change) })
      expect([status, json.error.param, json.error.code]).toEqual([400, name, 'client_credentials_disabled'])
    }
  } finally {
    await closed.close()
  }
})

test('parameters that only a provider knows are defaults of the lines', async () => {
  const params = {
    top_k: 3,
    max_output_tokens: 5,
    dimensions: 8,
    reasoning: { effort: 'low' },
    provider_only: 1,
  }
  const { id } = await stage.create(ask(params))
  expect(await stage.defaultsOf(id)).toEqual(params)
})

test('any endpoint that is served, and any mix of them, can be asked of a batch', async () => {
  for (const endpoint of [
    '/v1/responses',
    '/v1/messages',
    '/v1/completions',
    '/v1/embeddings',
    '/v1/moderations',
    '*',
  ]) {
    expect((await stage.create(ask({ endpoint }))).endpoint).toBe(endpoint)
  }
})

test("a file that is not there, another tenant's, and one for something else are refused", async () => {
  const { key } = await api.apiKeys.create('other')
  const { input_file_id: own } = await stage.create()
  const { requests: _, ...asked } = ask()
  const overFile = (fileId: string, as = MASTER_KEY) => post({ ...asked, input_file_id: fileId }, as)
  for (const answer of [await overFile('file-none'), await overFile('../x'), await overFile(own, key)]) {
    const { error } = answer.json
    expect([answer.status, error.param, error.code]).toEqual([400, 'input_file_id', 'file_not_found'])
  }
  await api.store.redis.hset(api.store.keys.file(own), 'purpose', 'user_data')
  const { status, json } = await overFile(own)
  expect([status, json.error.code]).toEqual([400, 'invalid_file_purpose'])
  expect(await batchesOf(key)).toBe(0)
})

test('a file whose lines have credentials is the input of one batch only', async () => {
  const first = await stage.create(ask({ requests: [requestLine('x', { api_key: 'sk-x' })] }))
  await stage.begin(first.id, 1)
  const { requests: _, ...asked } = ask()
  const { status, json } = await post({ ...asked, input_file_id: first.input_file_id })
  expect([status, json.error.param, json.error.code]).toEqual([400, 'input_file_id', 'credentials_required'])
})

test('ten thousand lines may come in the call, or more bytes than another call may have, up to 20 MB', async () => {
  const many = Array.from({ length: 10_000 }, (_, line) => requestLine(`l${line}`))
  const batch = await stage.create(ask({ requests: many }))
  expect((await api.batches.files.read('default', batch.input_file_id))?.lines).toBe(10_000)
  await stage.create(ask({ requests: long(12) }))
  const { status, json } = await post(ask({ requests: long(24) }))
  expect([status, json.error.code]).toEqual([413, 'request_too_large'])
})

test('other calls keep the limit that their bodies have', async () => {
  const { status } = await api.call('POST', '/v1/jobs', { body: { x: 'x'.repeat(10 * 1024 * 1024) } })
  expect(status).toBe(413)
})

test('a tenant without room for its lines is told so, and nothing is left of them', async () => {
  const small = await startApi({ tenantBytesMax: 400 })
  try {
    const body = ask({ requests: [requestLine('x', {}, { user: 'x'.repeat(500) })] })
    const { status, json } = await small.call('POST', '/v1/batches', { body })
    expect([status >= 400 && status < 500, json.error.type]).toEqual([true, expect.any(String)])
    expect(await small.batches.files.bytesUsed('default')).toBe(0)
    expect((await small.call('GET', '/v1/batches')).json.data).toEqual([])
  } finally {
    await small.close()
  }
})
