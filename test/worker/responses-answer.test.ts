import { expect, test } from 'vitest'
import { responses } from '../../worker/translation/responses.ts'
import { completionOf, USAGE } from './chat-streams.ts'

const request = {
  model: 'group',
  instructions: 'Be brief.',
  input: 'Hi',
  tools: [{ type: 'function', name: 'weather', parameters: {}, strict: null }],
  tool_choice: 'required',
  parallel_tool_calls: false,
  text: { verbosity: 'low' },
  reasoning: { effort: 'low' },
  max_output_tokens: 100,
  temperature: 0.5,
  metadata: { a: 'b' },
  user: 'u',
}

test('a completion is told as a whole Response', () => {
  const calls = [
    { id: 'call_1', name: 'weather', text: '{"city":"Rome"}' },
    { id: '', name: 'time', text: '' },
  ]
  const said = { reasoning_content: 'Hm', content: 'Hello', calls, finish_reason: 'tool_calls' }
  const call = { type: 'function_call', status: 'completed' }
  expect(responses.answer(completionOf(said), request)).toEqual({
    id: 'resp_Ab1',
    object: 'response',
    created_at: 1_700_000_000,
    status: 'completed',
    background: false,
    error: null,
    incomplete_details: null,
    instructions: 'Be brief.',
    max_output_tokens: 100,
    max_tool_calls: null,
    metadata: { a: 'b' },
    model: 'served-model',
    output: [
      {
        id: 'rs_Ab1_0',
        type: 'reasoning',
        summary: [{ type: 'summary_text', text: 'Hm' }],
        status: 'completed',
      },
      {
        id: 'msg_Ab1_1',
        type: 'message',
        role: 'assistant',
        content: [{ type: 'output_text', text: 'Hello', annotations: [], logprobs: [] }],
        status: 'completed',
      },
      { ...call, id: 'fc_Ab1_2', call_id: 'call_1', name: 'weather', arguments: '{"city":"Rome"}' },
      { ...call, id: 'fc_Ab1_3', call_id: 'call_Ab1_3', name: 'time', arguments: '{}' },
    ],
    parallel_tool_calls: false,
    previous_response_id: null,
    prompt_cache_key: null,
    reasoning: { effort: 'low', summary: null },
    safety_identifier: null,
    service_tier: null,
    store: true,
    temperature: 0.5,
    text: { format: { type: 'text' }, verbosity: 'low' },
    tool_choice: 'required',
    tools: request.tools,
    top_logprobs: 0,
    top_p: null,
    truncation: 'disabled',
    usage: {
      input_tokens: 20,
      input_tokens_details: { cached_tokens: 8, cache_write_tokens: 0 },
      output_tokens: 9,
      output_tokens_details: { reasoning_tokens: 4 },
      total_tokens: 29,
    },
    user: 'u',
  })
})

test('a limit or a filter makes an answer incomplete, and its last item', () => {
  const cut = responses.answer(
    completionOf({ reasoning_content: 'Hm', content: 'He', finish_reason: 'length' }),
    {},
  )
  expect(cut).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
  expect(cut['output']).toMatchObject([{ status: 'completed' }, { status: 'incomplete' }])
  const filtered = responses.answer(completionOf({ content: 'He', finish_reason: 'content_filter' }), {})
  expect(filtered).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'content_filter' } })
  // A call that a limit cut before its arguments is not made whole.
  const call = { id: 'call_1', name: 'a', text: '' }
  const cutCall = responses.answer(completionOf({ calls: [call], finish_reason: 'length' }), {})
  expect(cutCall['output']).toMatchObject([{ arguments: '', status: 'incomplete' }])
})

test('a refusal is a part of the message', () => {
  const { output } = responses.answer(completionOf({ content: 'Well', refusal: 'No.' }), {})
  expect(output).toMatchObject([
    {
      type: 'message',
      content: [
        { type: 'output_text', text: 'Well' },
        { type: 'refusal', refusal: 'No.' },
      ],
    },
  ])
})

const messageOf = (message: Record<string, unknown>, others: Record<string, unknown> = {}) =>
  responses.answer({ choices: [{ index: 0, message, finish_reason: 'stop', ...others }] }, { model: 'group' })

test('log probabilities and citations stand with their text', () => {
  const token = { token: 'Hi', bytes: [72, 105], logprob: -0.1, top_logprobs: [] }
  const url_citation = { url: 'https://x.test', title: 'X', start_index: 0, end_index: 2 }
  const message = { content: 'Hi', annotations: [{ type: 'url_citation', url_citation }] }
  expect(messageOf(message, { logprobs: { content: [token], refusal: null } })['output']).toMatchObject([
    {
      content: [
        {
          text: 'Hi',
          annotations: [
            { type: 'url_citation', url: 'https://x.test', title: 'X', start_index: 0, end_index: 2 },
          ],
          logprobs: [token],
        },
      ],
    },
  ])
})

test('reasoning is found by each of its names', () => {
  const signed = { type: 'thinking', thinking: 'T', signature: 's' }
  const forms = [
    { reasoning_content: 'T', content: 'Hi' },
    { reasoning: 'T', content: 'Hi' },
    {
      thinking_blocks: [signed],
      reasoning_content: 'T',
      content: 'Hi',
    },
    {
      content: [
        { type: 'thinking', thinking: [{ type: 'text', text: 'T' }] },
        { type: 'text', text: 'Hi' },
      ],
    },
  ]
  for (const form of forms) {
    expect(messageOf(form)['output']).toMatchObject([
      { type: 'reasoning', summary: [{ text: 'T' }] },
      { type: 'message', content: [{ text: 'Hi' }] },
    ])
  }
})

test('a poor answer is still told: without id, usage, choices, or with a cache by another name', () => {
  expect(responses.answer({}, { model: 'group' })).toMatchObject({
    id: 'resp_0',
    created_at: 0,
    model: 'group',
    status: 'completed',
    output: [],
    usage: null,
  })
  const { prompt_tokens_details: _details, ...usage } = USAGE
  const told = responses.answer({ ...completionOf({}), usage: { ...usage, prompt_cache_hit_tokens: 3 } }, {})
  expect(told).toMatchObject({ usage: { input_tokens_details: { cached_tokens: 3 } } })
})
