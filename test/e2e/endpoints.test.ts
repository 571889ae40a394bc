import { AzureOpenAI, type OpenAI } from 'openai'
import { AzureOpenAI as AzureOpenAI6 } from 'openai-v6'
import { describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { SDKS } from '../support/clients.ts'
import { eventually } from '../support/eventually.ts'
import { chunks, completion, failure, type LedgerEntry } from '../support/provider.ts'
import { ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway({ answer: byPath })

/** Each endpoint's request as text, and an answer with what a parser would change: spaces, order, and a number no double holds. */
const ENDPOINTS = [
  {
    path: '/completions',
    asked: '"prompt":"Say 1","seed":9007199254740993,"vendor":{"b":[1e400],"a":null}',
    told: '{ "id":"cmpl-1","object":"text_completion","created":1, "model":"m","choices":[{"text":" Hello","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"seed": 9007199254740993}',
    usage: { input_tokens: 3, output_tokens: 2, total_tokens: 5 },
    cost: 0.07,
  },
  {
    path: '/embeddings',
    asked: '"input":["a",[1,2]],"dimensions":2,"encoding_format":"float","seed":9007199254740993',
    told: '{"object":"list", "data":[{"object":"embedding","index":0,"embedding":[0.10,-1.0e-9]}],"model":"m","usage":{"prompt_tokens":4,"total_tokens":4},"id":9007199254740993}',
    usage: { input_tokens: 4, output_tokens: 0, total_tokens: 4 },
    cost: 0.04,
  },
  {
    path: '/moderations',
    asked: '"input":[{"type":"text","text":"x"}],"vendor":9007199254740993',
    told: '{"id":"modr-1","model":"m", "results":[{"flagged":false,"categories":{},"category_scores":{"hate":1.0e-9}}],"n":9007199254740993}',
    usage: null,
    cost: null,
  },
] as const

function byPath({ path }: LedgerEntry) {
  const endpoint = ENDPOINTS.find((one) => path.endsWith(one.path))
  return endpoint
    ? { kind: 'reply' as const, status: 200, body: endpoint.told }
    : failure(404, 'no_such_path')
}

const config = (params: object = {}, settings: object = {}) =>
  ownConfig({ url: provider.url, key: freshKey(), ...params }, { num_retries: 0, ...settings })

/** A call whose body is this text. */
async function post(path: string, text: string, headers: Record<string, string> = {}) {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json', ...headers },
    body: text,
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

describe.each(ENDPOINTS)('/v1$path', ({ path, asked, told, usage, cost }) => {
  const PRICES = { input_cost_per_token: 0.01, output_cost_per_token: 0.02 }
  const textOf = (userConfig: object) =>
    `{"model":"mine",${asked},"user_config":${JSON.stringify(userConfig)}}`

  /** Whichever way it was asked: one call, all bytes there and back. */
  async function check(id: string): Promise<void> {
    const job = await gateway.ended(id)
    expect(provider.ledger).toHaveLength(1)
    expect(provider.ledger[0]).toMatchObject({ path: `/v1${path}`, text: `{"model":"gpt-test",${asked}}` })
    expect(job).toMatchObject({
      status: 'completed',
      endpoint: `/v1${path}`,
      usage,
      attempts: [{ outcome: 'completed', provider: 'openai', status_code: 200, cost }],
      attempts_made: 1,
      cost,
    })
    expect((await gateway.call('GET', `/v1/jobs/${id}/result`)).text).toBe(told)
    expect((await gateway.call('GET', `/v1/jobs/${id}`)).text).toContain('9007199254740993')
  }

  test.each(['/v1', ''])('is answered byte for byte with the base "%s"', async (base) => {
    const answer = await post(base + path, textOf(config(PRICES)))
    expect(answer).toMatchObject({ status: 200, text: told })
    expect(answer.headers.get('content-type')).toContain('application/json')
    expect(answer.headers.get('x-litellm-response-cost')).toBe(cost === null ? null : String(cost))
    await check(answer.headers.get('x-job-id') ?? '')
  })

  test('is a 202 and a job with respond-async, and the answer with wait', async () => {
    const accepted = await post(`/v1${path}`, textOf(config(PRICES)), { prefer: 'respond-async' })
    expect(accepted.status).toBe(202)
    await check((JSON.parse(accepted.text) as Job).id)
    provider.ledger.length = 0
    const waited = await post(`/v1${path}`, textOf(config(PRICES)), { prefer: 'wait=20' })
    expect(waited).toMatchObject({ status: 200, text: told })
    expect(waited.headers.get('preference-applied')).toBe('wait=20')
    await check(waited.headers.get('x-job-id') ?? '')
  })

  test('is a job of /v1/jobs', async () => {
    const text = `{"endpoint":"/v1${path}","body":${textOf(config(PRICES))},"metadata":{"a":"b"}}`
    const accepted = await post('/v1/jobs', text)
    expect(accepted.status).toBe(202)
    await check((JSON.parse(accepted.text) as Job).id)
  })

  test('counts in its deployment’s limits', async () => {
    const shared = textOf(config({ rpm: 1 }))
    expect((await post(`/v1${path}`, shared)).status).toBe(200)
    const second = await post(`/v1${path}`, shared, { prefer: 'respond-async' })
    const { id } = JSON.parse(second.text) as Job
    await eventually(
      'it waits for its turn',
      async () => (await gateway.job(id)).queue.state === 'rate_limited',
    )
    await gateway.call('POST', `/v1/jobs/${id}/cancel`)
    expect(provider.ledger).toHaveLength(1)
  })

  test('is retried, and its failure has its status', async () => {
    provider.answer(({ number }) =>
      number === 1 ? failure(503, 'down') : { ...byPath({ path } as LedgerEntry) },
    ) // its path is all that is read
    expect((await post(`/v1${path}`, textOf(config({}, { num_retries: 1 })))).text).toBe(told)
    provider.answer(() => failure(400, 'bad_thing'))
    const refused = await post(`/v1${path}`, textOf(config()))
    expect(refused.status).toBe(400)
    expect(JSON.parse(refused.text)).toMatchObject({ error: { code: 'bad_thing' } })
  })

  test('an answer of another endpoint is none', async () => {
    provider.answer(() => completion('x'))
    const status = path === '/completions' ? 200 : 502
    expect((await post(`/v1${path}`, textOf(config()))).status).toBe(status)
  })
})

describe.each(SDKS)('$name, unmodified', ({ make }) => {
  const client = (base = '/v1'): OpenAI =>
    make({ baseURL: gateway.url + base, apiKey: gateway.masterKey, maxRetries: 0 })

  test('completions, streamed too', async () => {
    const body = { model: 'mine', prompt: 'Say 1', user_config: config() }
    const whole = await client().completions.create(body)
    expect(whole.choices[0]?.text).toBe(' Hello')
    const events = ['He', 'llo'].map(
      (text) =>
        `data: {"id":"c","object":"text_completion","choices":[{"index":0,"text":"${text}","finish_reason":null}]}\n\n`,
    )
    const end =
      'data: {"id":"c","choices":[{"index":0,"text":"","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    provider.answer(() => ({ kind: 'stream', events: [...events, end] }))
    let told = ''
    for await (const chunk of await client('').completions.create({ ...body, stream: true }))
      told += chunk.choices[0]?.text ?? ''
    expect(told).toBe('Hello')
  })

  test('embeddings, which it asks for in base64 by itself', async () => {
    const body = { model: 'mine', input: 'a', user_config: config() }
    const packed = Buffer.from(new Float32Array([0.5, -2]).buffer).toString('base64')
    provider.answer(() => ({
      kind: 'reply',
      status: 200,
      body: {
        data: [{ index: 0, embedding: packed }],
        model: 'm',
        usage: { prompt_tokens: 1, total_tokens: 1 },
      },
    }))
    const { data } = await client().embeddings.create(body)
    expect(data[0]?.embedding).toEqual([0.5, -2])
    expect(provider.ledger[0]?.body).toEqual({ model: 'gpt-test', input: 'a', encoding_format: 'base64' })
  })

  test('moderations, without a model too', async () => {
    const { model_list: list } = config({ group: 'omni-moderation-latest', model: 'omni-moderation-latest' })
    const { results } = await client().moderations.create({
      input: 'x',
      user_config: { model_list: list },
    } as never)
    expect(results[0]?.flagged).toBe(false)
    expect(provider.ledger[0]?.body).toEqual({ input: 'x', model: 'omni-moderation-latest' })
  })
})

const azureBody = (model = 'mine') => ({
  model,
  messages: [{ role: 'user' as const, content: 'Hi' }],
  user_config: config({ group: model }),
})

describe.each([
  { name: 'openai 7', Azure: AzureOpenAI },
  // The same by its interface; its types are another package's.
  { name: 'openai 6', Azure: AzureOpenAI6 as unknown as typeof AzureOpenAI },
])('the AzureOpenAI client of $name, unmodified', ({ Azure }) => {
  const client = (more: object = {}) =>
    new Azure({
      endpoint: gateway.url,
      apiKey: gateway.masterKey,
      apiVersion: '2024-10-21',
      maxRetries: 0,
      ...more,
    })
  test('completes by a deployment in the path, with its key in api-key', async () => {
    provider.answer(() => completion('Hello'))
    const reply = await client().chat.completions.create(azureBody())
    expect(reply.choices[0]?.message.content).toBe('Hello')
    expect(provider.ledger[0]?.text).toBe('{"model":"gpt-test","messages":[{"role":"user","content":"Hi"}]}')
    // What stands in the body counts for nothing.
    await client({ deployment: 'my/group ü' }).chat.completions.create({
      ...azureBody('my/group ü'),
      model: 'other',
    })
    expect(provider.ledger).toHaveLength(2)
  })

  test('streams, by .stream() too', async () => {
    provider.answer(() => chunks('Hel', 'lo'))
    let told = ''
    for await (const { choices } of await client().chat.completions.create({ ...azureBody(), stream: true }))
      told += choices[0]?.delta.content ?? ''
    expect(told).toBe('Hello')
    const final = await client().chat.completions.stream(azureBody()).finalChatCompletion()
    expect(final.choices[0]?.message.content).toBe('Hello')
  })

  test('embeds and completes', async () => {
    const { user_config } = azureBody()
    const embedded = await client().embeddings.create({
      model: 'mine',
      input: 'a',
      encoding_format: 'float',
      user_config,
    } as never)
    expect(embedded.data[0]?.embedding).toEqual([0.1, -1e-9])
    const completed = await client().completions.create({ model: 'mine', prompt: 'a', user_config } as never)
    expect(completed.choices[0]?.text).toBe(' Hello')
    expect(provider.ledger.map(({ path }) => path)).toEqual(['/v1/embeddings', '/v1/completions'])
  })

  test('is a job with respond-async, and its errors are the SDK’s own', async () => {
    provider.answer(() => completion('Hello'))
    const headers = { prefer: 'respond-async' }
    const job = (await client().chat.completions.create(azureBody(), { headers })) as unknown as Job
    expect(await gateway.ended(job.id)).toMatchObject({
      status: 'completed',
      endpoint: '/v1/chat/completions',
    })
    await expect(client({ apiKey: 'sk-wrong' }).chat.completions.create(azureBody())).rejects.toMatchObject({
      status: 401,
      code: 'invalid_api_key',
    })
    provider.answer(() => failure(404, 'DeploymentNotFound'))
    await expect(client().chat.completions.create(azureBody())).rejects.toMatchObject({
      status: 404,
      code: 'DeploymentNotFound',
    })
  })
})

test('numbers of a stream are in its whole answer as they were told', async () => {
  const told = '"logprobs":{"content":[{"logprob":-0.12345678901234567890,"n":[9007199254740993]}]}'
  const event = `data: {"id":"c","seed":9007199254740993,"choices":[{"index":0,${told},"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n`
  provider.answer(() => ({ kind: 'stream', events: [event] }))
  const body = { model: 'mine', messages: [{}], stream: true, user_config: config() }
  const answer = await gateway.call('POST', '/v1/chat/completions', { body })
  expect(answer.text).toBe(event)
  const { id } = await gateway.ended(answer.headers.get('x-job-id') ?? '')
  const whole = await gateway.call('GET', `/v1/jobs/${id}/result`)
  expect(whole.text).toContain(told)
  expect(whole.text).toContain('"seed":9007199254740993')
})

describe('a stream of what has none', () => {
  test.each(['/embeddings', '/moderations'])('%s is a 400 by either door, and calls nobody', async (path) => {
    const body = { model: 'mine', input: 'x', stream: true, user_config: config() }
    const error = { code: 'unsupported_stream' }
    expect(await gateway.call('POST', `/v1${path}`, { body })).toMatchObject({
      status: 400,
      json: { error: { ...error, param: 'stream' } },
    })
    const job = await gateway.call('POST', '/v1/jobs', { body: { endpoint: `/v1${path}`, body } })
    expect(job).toMatchObject({ status: 400, json: { error: { ...error, param: 'body.stream' } } })
    expect(provider.ledger).toEqual([])
  })
})

describe('an endpoint that the provider lacks is a 400 that says who has what', () => {
  test.each([
    ['/embeddings', 'anthropic/claude-x', { input: 'x' }],
    ['/moderations', 'groq/m', { input: 'x' }],
    ['/completions', 'anthropic/claude-x', { prompt: 'x' }],
  ])('%s at %s', async (path, model, asked) => {
    const name = model.split('/')[0]
    for (const body of [
      { model: 'mine', user_config: config({ model }), ...asked },
      { model, api_key: 'sk-own', ...asked },
    ]) {
      const answer = await gateway.call('POST', `/v1${path}`, { body })
      expect(answer).toMatchObject({
        status: 400,
        json: { error: { param: 'model', code: 'unsupported_endpoint' } },
      })
      expect(answer.text).toContain(`provider \\"${name}\\" serves /v1/chat/completions`)
    }
    expect(provider.ledger).toEqual([])
  })
})

/** First one deployment, then another of another provider. */
function chain(first: object, second: object) {
  const own = config({ group: 'mine', ...first }, { fallbacks: [{ mine: ['spare'] }] })
  own.model_list.push(...config({ group: 'spare', ...second }).model_list)
  return own
}
const askAt = (path: string, body: object, userConfig: object) =>
  gateway.call('POST', path, { body: { model: 'mine', ...body, user_config: userConfig } })
const pathsCalled = () => provider.ledger.map(({ path }) => path)

describe('a fallback to another family stays at the endpoint', () => {
  test.each([
    ['/embeddings', { input: 'x' }],
    ['/completions', { prompt: 'x' }],
  ])('%s: from Azure to OpenAI', async (path, body) => {
    provider.answer((entry) => (entry.path.includes('/deployments/') ? failure(500, 'down') : byPath(entry)))
    const own = chain({ model: 'azure/d', api_base: provider.url, api_version: '2024-10-21' }, {})
    expect(await askAt(`/v1${path}`, body, own)).toMatchObject({ status: 200 })
    expect(pathsCalled()).toEqual([`/openai/deployments/d${path}?api-version=2024-10-21`, `/v1${path}`])
  })

  test('/responses: from OpenAI’s own to what is asked by chat completions', async () => {
    provider.answer(({ path }) => (path === '/v1/responses' ? failure(500, 'down') : completion('Hello')))
    const answer = await askAt('/v1/responses', { input: 'Hi' }, chain({}, { model: 'hosted_vllm/m' }))
    expect(answer).toMatchObject({ status: 200, json: { object: 'response', status: 'completed' } })
    expect(answer.text).toContain('"Hello"')
    expect(pathsCalled()).toEqual(['/v1/responses', '/v1/chat/completions'])
  })

  test('/messages: from Anthropic to what is asked by chat completions, each with its own key', async () => {
    provider.answer(({ path }) =>
      path === '/v1/messages' ? failure(529, 'overloaded') : completion('Hello'),
    )
    const own = chain({ model: 'anthropic/claude-x', api_base: provider.url }, {})
    const asked = { max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] }
    const answer = await askAt('/v1/messages', asked, own)
    expect(answer).toMatchObject({
      status: 200,
      json: { type: 'message', role: 'assistant', content: [{ type: 'text', text: 'Hello' }] },
    })
    expect(pathsCalled()).toEqual(['/v1/messages', '/v1/chat/completions'])
    expect(provider.ledger.map(({ key }) => key)).toEqual(
      own.model_list.map(({ litellm_params: { api_key: key } }) => key),
    )
    const job = await gateway.ended(answer.headers.get('x-job-id') ?? '')
    expect(job.attempts).toMatchObject([
      { provider: 'anthropic', status_code: 529, outcome: 'failed' },
      { provider: 'openai', status_code: 200, outcome: 'completed' },
    ])
  })
})
