import { Anthropic } from '@anthropic-ai/sdk'
import type { Message, MessageCreateParamsNonStreaming } from '@anthropic-ai/sdk/resources/messages'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { gate } from '../support/eventually.ts'
import { chunks, completion, failure, type Answer, type LedgerEntry } from '../support/provider.ts'
import { ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

useGateway({ answer: answerAnthropic })

const client = (apiKey = gateway.masterKey) => new Anthropic({ baseURL: gateway.url, apiKey, maxRetries: 0 })
const configOf = (params: object, settings: object = {}) =>
  ownConfig({ url: provider.url, key: freshKey(), ...params }, { num_retries: 0, ...settings })
/** Anthropic itself, which is asked as it is. */
const native = (settings: object = {}) =>
  configOf({ model: 'anthropic/claude-test', api_base: provider.url }, settings)
/** A server of chat completions, which is asked by translation. */
const chatOnly = (settings: object = {}) => configOf({ model: 'hosted_vllm/m' }, settings)

const TOOLS = [
  {
    name: 'weather',
    description: 'Tells the weather',
    input_schema: { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] },
  },
]

/** A request with a config in it, which the SDK has no type for and sends as it is. */
function asking(userConfig: object, more: object = {}): MessageCreateParamsNonStreaming {
  const body = {
    model: 'mine',
    max_tokens: 2_000,
    system: 'Be short',
    messages: [{ role: 'user' as const, content: 'Hi' }],
    user_config: userConfig,
    ...more,
  }
  return body
}

// https://docs.claude.com/en/api/messages, with a field of the future and odd spaces.
const WHOLE =
  '{"id":"msg_1", "type":"message","role":"assistant","model":"claude-test","content":[{"type":"thinking","thinking":"Hm","signature":"c2ln"},{"type":"text","text":"Hello"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern","n":9007199254740993}}],"stop_reason":"tool_use","stop_sequence":null,"future":1.0,"usage":{"input_tokens":7,"output_tokens":5}}'

function event(data: { type: string } & Record<string, unknown>): string {
  return `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
}

function block(index: number, start: object, ...deltas: object[]): string[] {
  return [
    event({ type: 'content_block_start', index, content_block: start }),
    ...deltas.map((delta) => event({ type: 'content_block_delta', index, delta })),
    event({ type: 'content_block_stop', index }),
  ]
}

// https://docs.claude.com/en/docs/build-with-claude/streaming
const EVENTS = [
  event({
    type: 'message_start',
    message: {
      ...JSON.parse(WHOLE),
      content: [],
      stop_reason: null,
      usage: { input_tokens: 7, output_tokens: 1 },
    },
  }),
  event({ type: 'ping' }),
  ...block(
    0,
    { type: 'thinking', thinking: '', signature: '' },
    { type: 'thinking_delta', thinking: 'Hm' },
    { type: 'signature_delta', signature: 'c2ln' },
  ),
  ...block(
    1,
    { type: 'text', text: '' },
    { type: 'text_delta', text: 'Hel' },
    { type: 'text_delta', text: 'lo' },
  ),
  ...block(
    2,
    { type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} },
    { type: 'input_json_delta', partial_json: '{"city":' },
    { type: 'input_json_delta', partial_json: '"Bern"}' },
  ),
  event({
    type: 'message_delta',
    delta: { stop_reason: 'tool_use', stop_sequence: null },
    usage: { output_tokens: 5 },
  }),
  event({ type: 'message_stop' }),
]

function answerAnthropic({ path, body }: LedgerEntry): Answer {
  if (path !== '/v1/messages') return failure(404, 'unexpected_path')
  if (body['stream'] === true) return { kind: 'stream', events: EVENTS }
  return { kind: 'reply', status: 200, body: WHOLE }
}

const CALL = {
  id: 'call_1',
  type: 'function',
  function: { name: 'weather', arguments: '{"city":"Bern"}' },
}

/** The same as a chat completion. */
function answerChat({ path, body }: LedgerEntry): Answer {
  if (path !== '/v1/chat/completions') return failure(404, 'unexpected_path')
  const whole = completion('Hello')
  const said = { content: 'Hello', reasoning_content: 'Hm', tool_calls: [CALL] }
  const end = { index: 0, finish_reason: 'tool_calls' }
  if (body['stream'] !== true) {
    const choices = [{ ...end, message: { role: 'assistant', ...said } }]
    return { ...whole, body: { ...whole.body, choices } }
  }
  const head = { ...whole.body, object: 'chat.completion.chunk', usage: null }
  const deltas = [
    { role: 'assistant', reasoning_content: 'Hm' },
    { content: 'Hel' },
    { content: 'lo' },
    { tool_calls: [{ index: 0, ...CALL, function: { ...CALL.function, arguments: '{"city":' } }] },
    { tool_calls: [{ index: 0, function: { arguments: '"Bern"}' } }] },
  ]
  const list = [
    ...deltas.map((delta) => ({ ...head, choices: [{ index: 0, delta, finish_reason: null }] })),
    { ...head, choices: [{ ...end, delta: {} }] },
    { ...head, choices: [], usage: whole.body.usage },
  ]
  const events = list.map((data) => `data: ${JSON.stringify(data)}\n\n`)
  return { kind: 'stream', events: [...events, 'data: [DONE]\n\n'] }
}

function check(message: Message): void {
  expect(message).toMatchObject({
    type: 'message',
    role: 'assistant',
    content: [
      { type: 'thinking', thinking: 'Hm' },
      { type: 'text', text: 'Hello' },
      { type: 'tool_use', name: 'weather', input: { city: 'Bern' } },
    ],
    stop_reason: 'tool_use',
    usage: { input_tokens: 7, output_tokens: 5 },
  })
}

describe.each([
  { way: 'to Anthropic as it is', config: native, script: answerAnthropic },
  { way: 'to a server of chat completions, translated', config: chatOnly, script: answerChat },
])('the SDK, unmodified, $way', ({ config, script }) => {
  beforeEach(() => provider.answer(script))

  test('creates a message with tools, a system prompt and thinking', async () => {
    const thinking = { type: 'enabled' as const, budget_tokens: 1_024 }
    check(await client().messages.create(asking(config(), { tools: TOOLS, thinking })))
    expect(provider.ledger).toHaveLength(1)
    expect(JSON.stringify(provider.ledger[0]?.body)).toContain('Be short')
    expect(JSON.stringify(provider.ledger[0]?.body)).toContain('Tells the weather')
  })

  test('.stream() puts it together, and tells its text as it comes', async () => {
    const stream = client().messages.stream(asking(config(), { tools: TOOLS }))
    const texts: string[] = []
    stream.on('text', (text) => texts.push(text))
    check(await stream.finalMessage())
    expect(texts).toEqual(['Hel', 'lo'])
  })

  test('goes on with what it was told: calls, their results, thinking', async () => {
    const own = config()
    const told = await client().messages.create(asking(own, { tools: TOOLS }))
    const call = told.content.find((one) => one.type === 'tool_use')
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: told.content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: call?.id, content: '12 degrees' }] },
    ]
    check(await client().messages.create(asking(own, { tools: TOOLS, messages })))
    const sent = JSON.stringify(provider.ledger.at(-1)?.body)
    expect(sent).toContain('12 degrees')
    expect(sent).toContain('Bern')
  })

  test('is a job with respond-async, and by /v1/jobs', async () => {
    const headers = { prefer: 'respond-async' }
    const accepted = (await client().messages.create(asking(config()), { headers })) as unknown as Job
    expect(accepted).toMatchObject({ object: 'job', endpoint: '/v1/messages' })
    const submitted = await gateway.call('POST', '/v1/jobs', {
      body: { endpoint: '/v1/messages', body: asking(config()) },
    })
    for (const { id } of [accepted, submitted.json as Job]) {
      const job = await gateway.ended(id)
      expect(job).toMatchObject({ status: 'completed', usage: { input_tokens: 7, output_tokens: 5 } })
      check((await gateway.call('GET', `/v1/jobs/${id}/result`)).json as Message)
    }
  })

  test.each([
    [400, 'BadRequestError', 'invalid_request_error'],
    [401, 'AuthenticationError', 'authentication_error'],
    [403, 'PermissionDeniedError', 'permission_error'],
    [404, 'NotFoundError', 'not_found_error'],
    [429, 'RateLimitError', 'rate_limit_error'],
    [500, 'InternalServerError', 'api_error'],
    [529, 'OverloadedError', 'overloaded_error'],
  ])('a provider’s %i is its %s', async (status, name, type) => {
    // A 429 that no waiting helps with; another one is waited out.
    provider.answer(() => failure(status, status === 429 ? 'insufficient_quota' : 'scripted'))
    for (const more of [{}, { stream: true }]) {
      const error = await client()
        .messages.create(asking(config(), more))
        .then(() => null, (thrown: unknown) => thrown) // oxfmt-ignore
      expect(error).toMatchObject({ status, type, error: { type: 'error', error: { type } } })
      expect((error as Error).constructor.name).toBe(name)
      expect(error).toHaveProperty('requestID', expect.stringMatching(/^req_/))
    }
  })
})

test('to Anthropic go the bytes that came, and its own come back', async () => {
  const own = native()
  const body = asking(own, { future: { deep: [null] } })
  const { user_config: _own, ...rest } = body as unknown as Record<string, unknown>
  const whole = await gateway.call('POST', '/v1/messages', { body })
  expect(whole.text).toBe(WHOLE)
  expect(provider.ledger[0]).toMatchObject({
    body: { ...rest, model: 'claude-test' },
    key: own.model_list[0]?.litellm_params.api_key,
    headers: { 'anthropic-version': '2023-06-01' },
  })
  expect(provider.ledger[0]?.headers).not.toHaveProperty('authorization')
  const streamed = await gateway.call('POST', '/v1/messages', { body: { ...body, stream: true } })
  expect(streamed.text).toBe(EVENTS.join(''))
  const job = await gateway.ended(streamed.headers.get('x-job-id') ?? '')
  expect(job.response?.body).toMatchObject({
    id: 'msg_1',
    content: [{ thinking: 'Hm', signature: 'c2ln' }, {}, {}],
  })
})

test('betas that are asked for by header go to Anthropic as one', async () => {
  expect((await askWithBetas('one-2025-01-01, two')).status).toBe(200)
  expect(provider.ledger[0]?.headers['anthropic-beta']).toBe('one-2025-01-01,two')
  expect(provider.ledger[0]?.body).not.toHaveProperty('anthropic_beta')
  expect(await askWithBetas('"no name"')).toMatchObject({
    status: 400,
    json: { error: { param: 'anthropic-beta' } },
  })
})

test('a base with /v1 and one without, x-api-key and a bearer', async () => {
  for (const path of ['/v1/messages', '/messages']) {
    const headers = { authorization: '', 'x-api-key': gateway.masterKey }
    const answer = await gateway.call('POST', path, { body: asking(native()), headers })
    expect(answer.status).toBe(200)
  }
  const bearer = new Anthropic({
    baseURL: gateway.url,
    apiKey: null,
    authToken: gateway.masterKey,
    maxRetries: 0,
  })
  expect((await bearer.messages.create(asking(native()))).id).toBe('msg_1')
})

describe('errors of the gateway’s own have Anthropic’s form', () => {
  test('a wrong key, a wrong config, a missing field', async () => {
    await expect(client('sk-wrong').messages.create(asking(native()))).rejects.toMatchObject({
      status: 401,
      type: 'authentication_error',
    })
    await expect(client().messages.create(asking({ ...native(), num_retrys: 1 }))).rejects.toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      error: { error: { param: 'user_config.num_retrys' } },
    })
    await expect(client().messages.create(asking(native(), { max_tokens: undefined }))).rejects.toMatchObject(
      {
        status: 400,
        error: { error: { param: 'max_tokens' } },
      },
    )
    expect(provider.ledger).toEqual([])
  })

  test('what is not served below /messages is a 404', async () => {
    const counting = client().messages.countTokens({
      model: 'mine',
      messages: [{ role: 'user', content: 'Hi' }],
    })
    await expect(counting).rejects.toMatchObject({ status: 404, type: 'not_found_error' })
    await expect(client().messages.batches.list()).rejects.toMatchObject({
      status: 404,
      type: 'not_found_error',
    })
  })
})

test('a stream falls back unheard while it has not begun: a ping is no beginning', async () => {
  const own = native({ fallbacks: [{ mine: ['spare'] }] })
  own.model_list.push(...configOf({ model: 'hosted_vllm/m', group: 'spare' }).model_list)
  const overloaded = event({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } })
  provider.answer((entry) =>
    entry.path === '/v1/messages'
      ? { kind: 'stream', events: [event({ type: 'ping' }), event({ type: 'ping' }) + overloaded] }
      : answerChat(entry),
  )
  const raw = await gateway.call('POST', '/v1/messages', { body: { ...asking(own), stream: true } })
  expect(raw.text).toMatch(/^event: message_start\n/)
  check(await client().messages.stream(asking(own)).finalMessage())
  const job = await gateway.ended(raw.headers.get('x-job-id') ?? '')
  expect(job.attempts).toMatchObject([
    { provider: 'anthropic', outcome: 'failed' },
    { provider: 'hosted_vllm', outcome: 'completed' },
  ])
})

/** What the SDK throws, and what it had heard. */
async function broken(userConfig: object) {
  let heard = ''
  const stream = client().messages.stream(asking(userConfig))
  stream.on('text', (text) => (heard += text))
  const error = await stream.finalMessage().then(() => null, (thrown: unknown) => thrown) // oxfmt-ignore
  return { heard, error }
}

describe('a stream that breaks off throws, and is not tried again', () => {
  test('by Anthropic’s own error event, under its own name', async () => {
    const said = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }
    provider.answer(() => ({ kind: 'stream', events: [...EVENTS.slice(0, 8), event(said)] }))
    const { heard, error } = await broken(native({ num_retries: 2 }))
    expect(heard).toBe('Hel')
    expect(error).toMatchObject({ type: 'overloaded_error', message: expect.stringContaining('Overloaded') })
    expect(provider.ledger).toHaveLength(1)
  })

  test('when its connection is cut', async () => {
    provider.answer(() => ({ kind: 'stream', events: EVENTS.slice(0, 8), isCut: true }))
    expect(await broken(native())).toMatchObject({ heard: 'Hel', error: { type: 'api_error' } })
  })

  test('when a translated one is', async () => {
    const { events } = chunks('Hel', 'lo')
    provider.answer(() => ({ kind: 'stream', events: events.slice(0, 2), isCut: true }))
    expect(await broken(chatOnly())).toMatchObject({ heard: 'Hel', error: { type: 'api_error' } })
  })

  test('when its job is cancelled', async () => {
    const held = gate()
    provider.answer(() => ({ kind: 'stream', events: [...EVENTS.slice(0, 8), held.opened] }))
    const stream = client().messages.stream(asking(native()))
    await new Promise((heard) => stream.once('text', heard))
    const { response } = await stream.withResponse()
    await gateway.call('POST', `/v1/jobs/${response.headers.get('x-job-id')}/cancel`)
    await expect(stream.finalMessage()).rejects.toMatchObject({ error: { error: { code: 'job_cancelled' } } })
    held.open()
  })
})

function askWithBetas(betas: string) {
  const headers = { 'anthropic-beta': betas }
  return gateway.call('POST', '/v1/messages', { body: asking(native()), headers })
}
