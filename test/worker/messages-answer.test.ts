import { expect, test } from 'vitest'
import { messages } from '../../worker/translation/messages.ts'
import { completionOf, type Said } from './chat-streams.ts'

const answer = (said: Said, request = {}) => messages.answer(completionOf(said), request)
const messageOf = (message: Record<string, unknown>, others: Record<string, unknown> = {}, request = {}) =>
  messages.answer({ choices: [{ index: 0, message, finish_reason: 'stop', ...others }] }, request)

test('a completion is told as a whole Message', () => {
  const calls = [
    { id: 'call_1', name: 'weather', text: '{"city":"Rome","id":12345678901234567890}' },
    { id: '', name: 'time', text: '' },
  ]
  const told = answer({ reasoning_content: 'Hm', content: 'Hello', calls, finish_reason: 'tool_calls' })
  const { content, ...message } = told
  expect(message).toEqual({
    id: 'msg_Ab1',
    type: 'message',
    role: 'assistant',
    model: 'served-model',
    stop_reason: 'tool_use',
    stop_sequence: null,
    stop_details: null,
    container: null,
    diagnostics: null,
    usage: {
      input_tokens: 12,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 8,
      output_tokens: 9,
      output_tokens_details: { thinking_tokens: 4 },
      server_tool_use: null,
    },
  })
  const caller = { type: 'direct' }
  // As text: the number is above what a double holds.
  expect(JSON.stringify(content)).toBe(
    JSON.stringify([
      { type: 'thinking', thinking: 'Hm', signature: '' },
      { type: 'text', text: 'Hello', citations: null },
      { type: 'tool_use', id: 'call_1', name: 'weather', input: { city: 'Rome', id: 0 }, caller },
      { type: 'tool_use', id: 'toolu_Ab1_3', name: 'time', input: {}, caller },
    ]).replace('"id":0', '"id":12345678901234567890'),
  )
})

test('each way to stop has its reason', () => {
  const call = { id: 'c', name: 'f', text: '{}' }
  expect(answer({ content: 'Hi' })).toMatchObject({ stop_reason: 'end_turn' })
  expect(answer({ content: 'H', finish_reason: 'length' })).toMatchObject({ stop_reason: 'max_tokens' })
  expect(answer({ calls: [call], finish_reason: 'stop' })).toMatchObject({ stop_reason: 'tool_use' })
  expect(answer({ content: 'H', finish_reason: 'content_filter' })).toMatchObject({
    stop_reason: 'refusal',
    stop_details: { type: 'refusal', category: null, explanation: null },
  })
  expect(answer({ refusal: 'No.' })).toMatchObject({
    content: [{ type: 'text', text: 'No.' }],
    stop_reason: 'refusal',
    stop_details: { explanation: 'No.' },
  })
})

test('a stop sequence is told where the server told it', () => {
  const request = { stop_sequences: ['END'] }
  const told = messageOf({ content: 'Hi' }, { stop_reason: 'END' }, request)
  expect(told).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'END' })
  expect(messageOf({ content: 'Hi' }, { stop_reason: 'other' }, request)).toMatchObject({
    stop_reason: 'end_turn',
  })
})

test('what Claude has signed or hidden comes back as it was', () => {
  const blocks = [
    { type: 'thinking', thinking: 'a', signature: 's1' },
    { type: 'redacted_thinking', data: 'xyz' },
    { type: 'thinking', thinking: 'b', signature: 's2' },
  ]
  const told = messageOf({ reasoning_content: 'ab', thinking_blocks: blocks, content: 'Hi' })
  expect(told['content']).toEqual([...blocks, { type: 'text', text: 'Hi', citations: null }])
})

test('arguments that are no object are an input without fields', () => {
  for (const text of ['{"a":', '[1]', 'nonsense']) {
    const told = answer({ calls: [{ id: 'c', name: 'f', text }], finish_reason: 'length' })
    expect(told).toMatchObject({ content: [{ type: 'tool_use', input: {} }] })
  }
})

test('a poor answer is still told', () => {
  expect(messages.answer({}, { model: 'group' })).toMatchObject({
    id: 'msg_0',
    model: 'group',
    content: [],
    stop_reason: 'end_turn',
    usage: { input_tokens: 0, output_tokens: 0 },
  })
})
