import { expect, test } from 'vitest'
import { GEMINI_ANSWER, geminiStage, TOOL, user } from './family-stage.ts'
import { completionOf, createKeepingSink, PIXEL, SSE, sse } from './model-calls.ts'

const { upstream, ask } = geminiStage()
const candidate = (parts: unknown[], finishReason: string | null = 'STOP') => ({
  ...GEMINI_ANSWER,
  candidates: [{ content: { role: 'model', parts }, finishReason, index: 0 }],
})

test('an answer is told as a completion, with usage, thoughts, calls, images and signatures', async () => {
  upstream.answer(() => ({
    kind: 'reply',
    status: 200,
    body: candidate([
      { text: 'Paris it is.', thought: true, thoughtSignature: 'sig-0' },
      { text: 'Let me look.' },
      { functionCall: { name: 'get_weather', args: { city: 'Paris' } }, thoughtSignature: 'sig-1' },
      { functionCall: { id: 'own', name: 'get_weather' } },
      { inlineData: { mimeType: 'image/png', data: PIXEL } },
    ]),
  }))
  const outcome = await ask({ messages: [user('Hi')], tools: [TOOL] })
  expect(outcome).toMatchObject({
    reply: {
      requestId: 'up-1',
      usage: { input_tokens: 20, output_tokens: 10, total_tokens: 30, cached_input_tokens: 12 },
    },
  })
  expect(completionOf(outcome)).toEqual({
    id: 'resp-1',
    object: 'chat.completion',
    created: expect.any(Number),
    model: 'gemini-2.5-flash',
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: 'Let me look.',
          refusal: null,
          reasoning_content: 'Paris it is.',
          thinking_blocks: [{ type: 'thinking', thinking: 'Paris it is.', signature: 'sig-0' }],
          images: [{ type: 'image_url', index: 0, image_url: { url: `data:image/png;base64,${PIXEL}` } }],
          tool_calls: [
            {
              id: expect.any(String),
              type: 'function',
              function: { name: 'get_weather', arguments: '{"city":"Paris"}' },
              provider_specific_fields: { thought_signature: 'sig-1' },
            },
            { id: 'own', type: 'function', function: { name: 'get_weather', arguments: '{}' } },
          ],
        },
        logprobs: null,
        finish_reason: 'tool_calls',
      },
    ],
    usage: {
      prompt_tokens: 20,
      completion_tokens: 10,
      total_tokens: 30,
      prompt_tokens_details: { cached_tokens: 12 },
      completion_tokens_details: { reasoning_tokens: 6 },
    },
  })
})

test.each([
  [candidate([{ text: 'Hel' }], 'MAX_TOKENS'), 'length'],
  [candidate([], 'SAFETY'), 'content_filter'],
  [{ promptFeedback: { blockReason: 'PROHIBITED_CONTENT' } }, 'content_filter'],
])('it ends in its way, we in ours: %#', async (body, finish_reason) => {
  upstream.answer(() => ({ kind: 'reply', status: 200, body }))
  const outcome = await ask({ messages: [user('Hi')] })
  expect(completionOf(outcome)).toMatchObject({ choices: [{ finish_reason }] })
  expect(outcome).toMatchObject({ reply: { isFiltered: finish_reason === 'content_filter' } })
})

test('the same as a stream, in chunks and whole', async () => {
  const events = [
    candidate([{ text: 'Hm, ', thought: true }], null),
    candidate([{ text: 'Paris.', thought: true }], null),
    candidate([{ text: 'Let me ' }], null),
    candidate([{ text: 'look.' }], null),
    candidate([
      { functionCall: { id: 'c1', name: 'get_weather', args: { city: 'Paris' } }, thoughtSignature: 'sig-1' },
    ]),
  ]
  upstream.answer(() => ({ kind: 'reply', status: 200, headers: SSE, body: sse(events) }))
  const kept = createKeepingSink()
  const body = {
    messages: [user('Hi')],
    tools: [TOOL],
    stream: true,
    stream_options: { include_usage: true },
  }
  const outcome = await ask(body, {}, { sink: kept.sink })
  expect(upstream.ledger[0]?.path).toBe('/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse')
  const begun = { index: 0, id: 'c1', type: 'function', function: { name: 'get_weather', arguments: '' } }
  expect(kept.chunks().map(({ choices }) => choices)).toMatchObject([
    [{ delta: { role: 'assistant', content: null } }],
    [{ delta: { reasoning_content: 'Hm, ' } }],
    [{ delta: { reasoning_content: 'Paris.' } }],
    [{ delta: { content: 'Let me ' } }],
    [{ delta: { content: 'look.' } }],
    [{ delta: { tool_calls: [{ ...begun, provider_specific_fields: { thought_signature: 'sig-1' } }] } }],
    [{ delta: { tool_calls: [{ index: 0, function: { arguments: '{"city":"Paris"}' } }] } }],
    [{ delta: {}, finish_reason: 'tool_calls' }],
    [],
  ])
  expect(kept.events().at(-1)).toEqual({ data: '[DONE]' })
  expect(completionOf(outcome)).toMatchObject({
    id: 'resp-1',
    choices: [
      {
        message: {
          content: 'Let me look.',
          reasoning_content: 'Hm, Paris.',
          tool_calls: [{ id: 'c1', provider_specific_fields: { thought_signature: 'sig-1' } }],
        },
        finish_reason: 'tool_calls',
      },
    ],
    usage: { prompt_tokens: 20, completion_tokens: 10 },
  })
})

// https://ai.google.dev/gemini-api/docs/troubleshooting and google.rpc.RetryInfo
const QUOTA = {
  error: {
    code: 429,
    message: 'Quota exceeded.',
    status: 'RESOURCE_EXHAUSTED',
    details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '37s' }],
  },
}

const sink = () => createKeepingSink().sink

test('its errors, before and within a stream', async () => {
  const body = { messages: [user('canary')] }
  upstream.answer(() => ({ kind: 'reply', status: 429, body: QUOTA }))
  const limited = {
    kind: 'error',
    error: { class: 'rate_limit', status: 429, retryAfterMs: 37_000, isRetryable: true },
  }
  expect(await ask(body)).toMatchObject(limited)
  expect(await ask(body, {}, { sink: sink() })).toMatchObject(limited)
  upstream.answer(() => ({ kind: 'reply', status: 500, body: '<html>canary</html>' }))
  const broken = await ask(body)
  expect(broken).toMatchObject({ error: { class: 'internal_server', status: 500 } })
  expect(JSON.stringify(broken)).not.toContain('canary')
  const begun = [candidate([{ text: 'Hel' }], null)]
  for (const [events, errorClass] of [
    [[...begun, QUOTA], 'rate_limit'],
    [begun, 'response_invalid'],
    [[candidate([{ text: 'Hel' }], 'MALFORMED_FUNCTION_CALL')], 'response_invalid'],
  ] as const) {
    upstream.answer(() => ({ kind: 'reply', status: 200, headers: SSE, body: sse([...events]) }))
    const outcome = await ask(body, {}, { sink: sink() })
    expect(outcome).toMatchObject({
      kind: 'error',
      error: { class: errorClass, isRetryable: true },
      partial: expect.any(Buffer),
    })
  }
  for (const answer of ['', '{}', '[]', '{"candidates":"x"}']) {
    upstream.answer(() => ({ kind: 'reply', status: 200, body: answer }))
    expect(await ask(body)).toMatchObject({ kind: 'error', error: { class: 'response_invalid' } })
    expect(await ask(body, {}, { sink: sink() })).toMatchObject({
      kind: 'error',
      error: { class: 'response_invalid' },
    })
  }
})
