import { expect, test } from 'vitest'
import { AMAZON_STREAM, amazonEvents } from '../support/amazon.ts'
import {
  AMAZON_ID as ID,
  BEDROCK_MODEL as MODEL,
  bedrockStage,
  converseAnswer as answer,
  TOOL,
  user,
} from './family-stage.ts'
import { completionOf, createKeepingSink } from './model-calls.ts'

const { upstream, ask } = bedrockStage()

test('an answer is told as a completion, with usage, thinking, calls and the id of the provider', async () => {
  const content = [
    { reasoningContent: { reasoningText: { text: 'Rome it is.', signature: 'sig-1' } } },
    { reasoningContent: { redactedContent: 'cmVk' } },
    { text: "I'll check." },
    { toolUse: { toolUseId: 't1', name: 'get_weather', input: { city: 'Rome' } } },
    { toolUse: { toolUseId: 't2', name: 'get_weather', input: {} } },
  ]
  upstream.answer(() => ({ kind: 'reply', status: 200, headers: ID, body: answer(content, 'tool_use') }))
  const outcome = await ask({ messages: [user('Hi')], tools: [TOOL] })
  expect(outcome).toMatchObject({
    reply: {
      requestId: 'amzn-1',
      usage: { input_tokens: 40, output_tokens: 9, total_tokens: 49, cached_input_tokens: 25 },
    },
  })
  expect(completionOf(outcome)).toEqual({
    id: 'amzn-1',
    object: 'chat.completion',
    created: expect.any(Number),
    model: MODEL,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: "I'll check.",
          refusal: null,
          reasoning_content: 'Rome it is.',
          thinking_blocks: [
            { type: 'thinking', thinking: 'Rome it is.', signature: 'sig-1' },
            { type: 'redacted_thinking', data: 'cmVk' },
          ],
          tool_calls: [
            { id: 't1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } },
            { id: 't2', type: 'function', function: { name: 'get_weather', arguments: '{}' } },
          ],
        },
        logprobs: null,
        finish_reason: 'tool_calls',
      },
    ],
    usage: {
      prompt_tokens: 40,
      completion_tokens: 9,
      total_tokens: 49,
      prompt_tokens_details: { cached_tokens: 25 },
      completion_tokens_details: { reasoning_tokens: 0 },
      cache_creation_input_tokens: 5,
    },
  })
})

test.each([
  ['end_turn', 'stop'],
  ['stop_sequence', 'stop'],
  ['max_tokens', 'length'],
  ['guardrail_intervened', 'content_filter'],
  ['content_filtered', 'content_filter'],
])('it ends with %s, we with %s', async (stopReason, finish_reason) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body: answer([{ text: 'Hel' }], stopReason) }))
  const outcome = await ask({ messages: [user('Hi')] })
  expect(completionOf(outcome)).toMatchObject({ choices: [{ finish_reason }] })
  expect(outcome).toMatchObject({ reply: { isFiltered: finish_reason === 'content_filter' } })
})

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
const delta = (contentBlockIndex: number, fields: object): [string, object] => [
  'contentBlockDelta',
  { contentBlockIndex, delta: fields, p: 'abcd' },
]
const stop = (contentBlockIndex: number): [string, object] => ['contentBlockStop', { contentBlockIndex }]
const BEGUN: [string, object][] = [['messageStart', { role: 'assistant' }], delta(0, { text: 'Hel' })]
const TURN: [string, object][] = [
  ['messageStart', { role: 'assistant' }],
  delta(0, { reasoningContent: { text: 'Rome it is.' } }),
  delta(0, { reasoningContent: { signature: 'sig-1' } }),
  stop(0),
  delta(1, { text: 'Let me ' }),
  delta(1, { text: 'look.' }),
  stop(1),
  [
    'contentBlockStart',
    { contentBlockIndex: 2, start: { toolUse: { toolUseId: 't1', name: 'get_weather' } } },
  ],
  delta(2, { toolUse: { input: '{"city":' } }),
  delta(2, { toolUse: { input: '"Rome"}' } }),
  stop(2),
  ['messageStop', { stopReason: 'tool_use' }],
  ['metadata', { usage: { inputTokens: 10, outputTokens: 9, totalTokens: 19 }, metrics: { latencyMs: 5 } }],
]

test('the same as a stream, in chunks and whole', async () => {
  upstream.answer(() => ({
    kind: 'reply',
    status: 200,
    headers: { ...AMAZON_STREAM, ...ID },
    body: amazonEvents(TURN),
  }))
  const kept = createKeepingSink()
  const body = { messages: [user('Hi')], tools: [TOOL], stream_options: { include_usage: true } }
  const outcome = await ask(body, {}, { sink: kept.sink })
  expect(upstream.ledger[0]?.path).toBe(`/model/${encodeURIComponent(MODEL)}/converse-stream`)
  const begun = { index: 0, id: 't1', type: 'function', function: { name: 'get_weather', arguments: '' } }
  expect(kept.chunks().map(({ choices }) => choices)).toMatchObject([
    [{ delta: { role: 'assistant', content: null } }],
    [{ delta: { reasoning_content: 'Rome it is.' } }],
    [{ delta: { thinking_blocks: [{ type: 'thinking', thinking: 'Rome it is.', signature: 'sig-1' }] } }],
    [{ delta: { content: 'Let me ' } }],
    [{ delta: { content: 'look.' } }],
    [{ delta: { tool_calls: [begun] } }],
    [{ delta: { tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] } }],
    [{ delta: { tool_calls: [{ index: 0, function: { arguments: '"Rome"}' } }] } }],
    [{ delta: {}, finish_reason: 'tool_calls' }],
    [],
  ])
  expect(kept.chunks().at(-1)).toMatchObject({ usage: { prompt_tokens: 10, completion_tokens: 9 } })
  expect(kept.events().at(-1)).toEqual({ data: '[DONE]' })
  expect(completionOf(outcome)).toMatchObject({
    id: 'amzn-1',
    choices: [
      {
        message: { content: 'Let me look.', reasoning_content: 'Rome it is.', tool_calls: [{ id: 't1' }] },
        finish_reason: 'tool_calls',
      },
    ],
  })
})

const cuts: [string, Buffer, string][] = [
  [
    'a throttling',
    Buffer.concat([
      amazonEvents(BEGUN),
      amazonEvents([['throttlingException', { message: 'Slow down' }]], 'exception'),
    ]),
    'rate_limit',
  ],
  [
    'the model failing',
    Buffer.concat([
      amazonEvents(BEGUN),
      amazonEvents([['modelStreamErrorException', { message: 'Oops' }]], 'exception'),
    ]),
    'internal_server',
  ],
  ['its end', amazonEvents(BEGUN), 'response_invalid'],
  [
    'half a frame',
    Buffer.concat([amazonEvents(BEGUN), amazonEvents(TURN).subarray(0, 30)]),
    'response_invalid',
  ],
]

test.each(cuts)('a stream that breaks by %s fails with what had come', async (_what, body, errorClass) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, headers: AMAZON_STREAM, body }))
  const kept = createKeepingSink()
  const outcome = await ask({ messages: [user('Hi')] }, {}, { sink: kept.sink })
  expect(outcome).toMatchObject({
    kind: 'error',
    error: { class: errorClass, isRetryable: true, isPossiblyBilled: true },
  })
  const partial = outcome.kind === 'error' ? String(outcome.partial) : ''
  expect(JSON.parse(partial)).toMatchObject({
    choices: [{ message: { content: 'Hel' }, finish_reason: null }],
  })
  expect(kept.events().map(({ data }) => data)).not.toContain('[DONE]')
})

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
test.each([
  [429, 'ThrottlingException', { class: 'rate_limit', isRetryable: true, retryAfterMs: 3_000 }],
  [500, 'InternalServerException', { class: 'internal_server', isRetryable: true }],
  [503, 'ServiceUnavailableException', { class: 'service_unavailable', isRetryable: true }],
  [400, 'ValidationException', { class: 'bad_request', isRetryable: false }],
  [403, 'UnrecognizedClientException', { class: 'authentication', isRetryable: false }],
  [403, 'AccessDeniedException', { class: 'permission_denied', isRetryable: false }],
  [404, 'ResourceNotFoundException', { class: 'not_found', isRetryable: false }],
])('its error %i %s, streamed or not', async (status, name, error) => {
  const headers = { 'x-amzn-errortype': `${name}:http://internal.amazon.com/`, 'retry-after': '3' }
  const message = 'For arn:aws:iam::123456789012:user/canary with bedrock-api-key-test'
  upstream.answer(() => ({ kind: 'reply', status, headers, body: { message } }))
  for (const sink of [null, createKeepingSink().sink]) {
    const outcome = await ask({ messages: [user('canary')] }, {}, { sink })
    expect(outcome).toMatchObject({ kind: 'error', error: { status, code: name, ...error } })
    expect(JSON.stringify(outcome)).not.toMatch(/canary|key-test/)
  }
})

test.each(['', '<html>x</html>', '{"output":', '{}', '[]'])(
  'a 200 that is no answer is none: %s',
  async (body) => {
    upstream.answer(() => ({ kind: 'reply', status: 200, body }))
    for (const sink of [null, createKeepingSink().sink]) {
      const outcome = await ask({ messages: [user('Hi')] }, {}, { sink })
      expect(outcome).toMatchObject({
        kind: 'error',
        error: { class: 'response_invalid', isPossiblyBilled: true },
      })
    }
  },
)
