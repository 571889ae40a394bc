import { expect, test } from 'vitest'
import { anthropicStage, user } from './family-stage.ts'
import { completionOf, PIXEL } from './model-calls.ts'
import { chatCall } from './translated-turns.ts'

const { upstream, ask } = anthropicStage(() => ({ kind: 'reply', status: 200, body: MESSAGE }))

// https://docs.anthropic.com/en/api/messages (response), with the cache and thinking counts of its usage.
const MESSAGE = {
  id: 'msg_013Zva2CMHLNnjNjJKqJ2EF',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
  content: [{ type: 'text', text: 'Hi! My name is Claude.' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: {
    input_tokens: 5,
    cache_read_input_tokens: 90,
    cache_creation_input_tokens: 5,
    output_tokens: 25,
    output_tokens_details: { thinking_tokens: 10 },
  },
}

const call = (id: string, input: string) => chatCall(id, 'get_weather', input)

const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}

test('a request is put into its words whole, and nothing of it is left out', async () => {
  const outcome = await ask({
    messages: [
      {
        role: 'system',
        content: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
      },
      { role: 'developer', content: 'Speak French.' },
      user([
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url: `data:image/jpeg;base64,${PIXEL}` } },
        { type: 'image_url', image_url: { url: 'https://example.com/cat.png' } },
        { type: 'file', file: { file_data: 'data:application/pdf;base64,JVBERi0xLjQK', filename: 'a.pdf' } },
      ]),
      {
        role: 'assistant',
        content: 'Let me see.',
        thinking_blocks: [{ type: 'thinking', thinking: 'Hm.', signature: 'sig-1' }],
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Paris"}' } },
          { id: 'c2', type: 'function', function: { name: 'get_weather', arguments: '' } },
        ],
      },
      { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
      { role: 'tool', tool_call_id: 'c2', content: [{ type: 'text', text: 'rain' }] },
      user('And now?'),
    ],
    max_tokens: 300,
    temperature: 0.2,
    top_k: 3,
    stop: 'END',
    user: 'user-7',
    tools: [{ ...WEATHER, function: { ...WEATHER.function, strict: true } }],
    tool_choice: { type: 'function', function: { name: 'get_weather' } },
    parallel_tool_calls: false,
    stream: false,
  })
  expect(outcome).toMatchObject({ kind: 'reply' })
  expect(outcome).not.toHaveProperty('reply.warnings')
  expect(upstream.ledger[0]?.path).toBe('/v1/messages')
  expect(upstream.ledger[0]?.body).toEqual({
    model: 'claude-sonnet-4-5',
    max_tokens: 300,
    temperature: 0.2,
    top_k: 3,
    stop_sequences: ['END'],
    metadata: { user_id: 'user-7' },
    system: [
      { type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } },
      { type: 'text', text: 'Speak French.' },
    ],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'What is this?' },
          { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } },
          { type: 'image', source: { type: 'url', url: 'https://example.com/cat.png' } },
          {
            type: 'document',
            title: 'a.pdf',
            source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0xLjQK' },
          },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'Hm.', signature: 'sig-1' },
          { type: 'text', text: 'Let me see.' },
          { type: 'tool_use', id: 'c1', name: 'get_weather', input: { city: 'Paris' } },
          { type: 'tool_use', id: 'c2', name: 'get_weather', input: {} },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'c1', content: 'sunny' },
          { type: 'tool_result', tool_use_id: 'c2', content: 'rain' },
          { type: 'text', text: 'And now?' },
        ],
      },
    ],
    tools: [
      {
        name: 'get_weather',
        description: 'Weather of a city',
        input_schema: WEATHER.function.parameters,
        strict: true,
      },
    ],
    tool_choice: { type: 'tool', name: 'get_weather', disable_parallel_tool_use: true },
  })
})

test.each([
  ['claude-sonnet-4-5', {}, { max_tokens: 32_000 }],
  ['claude-3-5-sonnet-20241022', {}, { max_tokens: 4_096 }],
  ['no-such-model', {}, { max_tokens: 4_096 }],
  ['claude-sonnet-4-5', { max_completion_tokens: 77, max_tokens: 5 }, { max_tokens: 77 }],
  [
    'claude-sonnet-4-5',
    { max_tokens: 5_000, thinking: { type: 'enabled', budget_tokens: 2_000 } },
    { max_tokens: 5_000, thinking: { type: 'enabled', budget_tokens: 2_000 } },
  ],
  [
    'claude-sonnet-4-5',
    { max_tokens: 100, reasoning_effort: 'low' },
    { max_tokens: 1_124, thinking: { type: 'enabled', budget_tokens: 1_024 } },
  ],
  [
    'claude-opus-4-6',
    { max_tokens: 100, reasoning_effort: 'high' },
    {
      max_tokens: 100,
      thinking: { type: 'adaptive', display: 'summarized' },
      output_config: { effort: 'high' },
    },
  ],
  ['claude-sonnet-4-5', { max_tokens: 9, reasoning_effort: 'none' }, { max_tokens: 9 }],
  [
    'claude-sonnet-4-5',
    {
      max_tokens: 9,
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'n', schema: { type: 'object', properties: {} } },
      },
    },
    {
      max_tokens: 9,
      output_config: {
        format: {
          type: 'json_schema',
          schema: { type: 'object', properties: {}, additionalProperties: false },
        },
      },
    },
  ],
])('limits, thinking and schemas of %s with %j', async (model, fields, sent) => {
  await ask({ messages: [user('Hi')], ...fields }, { model })
  const { messages: _messages, ...body } = upstream.ledger[0]?.body ?? {}
  expect(body).toEqual({ model, ...sent })
})

test('what it has no word for is named, values and names of the client aside, unless it is to be dropped', async () => {
  const body = {
    messages: [
      { ...user('Hi'), name: 'canary' },
      user([{ type: 'image_url', image_url: { url: 'https://example.com/a.png', detail: 'low' } }]),
      { role: 'system', content: 'canary' },
      { role: 'assistant', content: 'canary' },
    ],
    n: 3,
    logprobs: true,
    logit_bias: { 50256: -100 },
    seed: 1,
    presence_penalty: 0.5,
    frequency_penalty: 0,
    temperature: 1.5,
    service_tier: 'flex',
    metadata: { trace: 'canary' },
    response_format: { type: 'json_object' },
    audio: { voice: 'canary' },
  }
  const outcome = await ask(body)
  const named = outcome.kind === 'reply' ? (outcome.reply.warnings ?? []) : []
  expect(new Set(named.map((each) => each.split(':')[0]))).toEqual(
    new Set([
      'audio',
      'logit_bias',
      'logprobs',
      'messages',
      'messages.name',
      'metadata',
      'service_tier',
      'image_url.detail',
      'n',
      'presence_penalty',
      'response_format',
      'seed',
      'temperature',
    ]),
  )
  expect(named.join(' ')).not.toContain('canary')
  const dropped = await ask(body, {}, { drop: { unsupported: true, names: ['temperature'], allowed: [] } })
  expect(dropped).toMatchObject({ reply: { warnings: [expect.stringContaining('messages')] } })
  expect(upstream.ledger[1]?.body).not.toHaveProperty('temperature')
  expect(upstream.ledger[1]?.body['system']).toEqual([{ type: 'text', text: 'canary' }])
})

test.each([
  [{}, 'messages'],
  [{ messages: 'Hi' }, 'messages'],
  [{ messages: [{ role: 'robot', content: 'Hi' }] }, 'messages[0].role'],
  [{ messages: [user([{ type: 'hologram' }])] }, 'messages[0].content[0]'],
  [{ messages: [user([{ type: 'image_url', image_url: { url: 'canary' } }])] }, 'messages[0].content[0]'],
  [{ messages: [{ role: 'tool', tool_call_id: 'x', content: 'canary' }] }, 'messages[0]'],
  [{ messages: [user('Hi')], tools: [{ type: 'web_search' }] }, 'tools[0]'],
  [{ messages: [user('Hi')], temperature: 'hot' }, 'temperature'],
  [{ messages: [user('Hi')], stop: 5 }, 'stop'],
  [{ messages: [user('Hi')], reasoning_effort: 'canary' }, 'reasoning_effort'],
])('a request that can not be said is the client’s fault, and nothing is sent: %j', async (body, param) => {
  const outcome = await ask(body)
  expect(outcome).toMatchObject({
    kind: 'error',
    error: { class: 'bad_request', param, isPossiblyBilled: false },
  })
  expect(JSON.stringify(outcome)).not.toContain('canary')
  expect(upstream.ledger).toEqual([])
})

test('an answer is told as a completion, with usage, thinking, calls and the id of the provider', async () => {
  // https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking and …/tool-use
  const content = [
    { type: 'thinking', thinking: 'Paris it is.', signature: 'EqQBCgIYAhIM' },
    { type: 'redacted_thinking', data: 'EmwKAhgB' },
    { type: 'text', text: "I'll check." },
    { type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: { city: 'Paris' } },
    { type: 'tool_use', id: 'toolu_2', name: 'get_weather', input: {} },
  ]
  const headers = {
    'request-id': 'req_018',
    'x-request-id': 'req_018',
    'anthropic-ratelimit-requests-remaining': '9',
  }
  upstream.answer(() => ({
    kind: 'reply',
    status: 200,
    headers,
    body: { ...MESSAGE, content, stop_reason: 'tool_use' },
  }))
  const outcome = await ask({ messages: [user('Hi')], tools: [WEATHER] })
  expect(outcome).toMatchObject({
    reply: {
      requestId: 'req_018',
      isFiltered: false,
      usage: { input_tokens: 100, output_tokens: 25, total_tokens: 125, cached_input_tokens: 90 },
      headers: { 'anthropic-ratelimit-requests-remaining': '9', 'request-id': 'req_018' },
    },
  })
  expect(completionOf(outcome)).toEqual({
    id: MESSAGE.id,
    object: 'chat.completion',
    created: expect.any(Number),
    model: 'claude-sonnet-4-5',
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: "I'll check.",
          refusal: null,
          reasoning_content: 'Paris it is.',
          thinking_blocks: content.slice(0, 2),
          tool_calls: [call('toolu_1', '{"city":"Paris"}'), call('toolu_2', '{}')],
        },
        logprobs: null,
        finish_reason: 'tool_calls',
      },
    ],
    usage: {
      prompt_tokens: 100,
      completion_tokens: 25,
      total_tokens: 125,
      prompt_tokens_details: { cached_tokens: 90 },
      completion_tokens_details: { reasoning_tokens: 10 },
      cache_creation_input_tokens: 5,
    },
  })
})

test.each([
  ['end_turn', 'stop'],
  ['stop_sequence', 'stop'],
  ['max_tokens', 'length'],
  ['refusal', 'content_filter'],
  ['something_new', 'stop'],
])('it ends with %s, we with %s', async (stop_reason, finish_reason) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body: { ...MESSAGE, stop_reason } }))
  const outcome = await ask({ messages: [user('Hi')] })
  expect(completionOf(outcome)).toMatchObject({ choices: [{ finish_reason }] })
  expect(outcome).toMatchObject({ reply: { isFiltered: finish_reason === 'content_filter' } })
})

test('a request in the old form of functions has its answer in that form', async () => {
  const content = [{ type: 'tool_use', id: 't', name: 'f', input: { a: 1 } }]
  upstream.answer(() => ({
    kind: 'reply',
    status: 200,
    body: { ...MESSAGE, content, stop_reason: 'tool_use' },
  }))
  const outcome = await ask({
    messages: [
      user('Hi'),
      { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{}' } },
      { role: 'function', name: 'f', content: 'done' },
    ],
    functions: [{ name: 'f', parameters: { type: 'object', properties: {} } }],
    function_call: { name: 'f' },
  })
  expect(completionOf(outcome)).toMatchObject({
    choices: [
      {
        message: { content: null, function_call: { name: 'f', arguments: '{"a":1}' } },
        finish_reason: 'function_call',
      },
    ],
  })
  expect(upstream.ledger[0]?.body).toMatchObject({ tool_choice: { type: 'tool', name: 'f' } })
})
