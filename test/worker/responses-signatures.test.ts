import { describe, expect, test } from 'vitest'
import { messages } from '../../worker/translation/messages.ts'
import { responses } from '../../worker/translation/responses.ts'
import type { ChatDialect } from '../../worker/translation/translation.ts'
import { chunkOf, dataOf, streamOf } from './chat-streams.ts'

const SIGNATURE = 'CqQBAb4+9/vz=='
const blocks = [
  { type: 'thinking', thinking: 'Hm', signature: 's1' },
  { type: 'redacted_thinking', data: 'xyz' },
]
const called = { name: 'f', arguments: '{}' }
const signedBy: Record<string, object> = {
  google: { extra_content: { google: { thought_signature: SIGNATURE } } },
  litellm: { provider_specific_fields: { thought_signature: SIGNATURE } },
}
const calls = (signed: object) => [{ id: 'call_1', type: 'function', function: called, ...signed }]
const completion = (message: object) => ({
  id: 'chatcmpl-1',
  choices: [{ index: 0, message, finish_reason: 'stop' }],
})

/** What a client of the Responses API asks next: all that it was told, and what the tool gave. */
function nextOfResponses(message: object, dialect: ChatDialect) {
  const told = responses.answer(completion(message), {})
  const output = told['output'] as Record<string, unknown>[] // by the form of the API
  const call = output.find(({ type }) => type === 'function_call')
  const result = { type: 'function_call_output', call_id: call?.['call_id'], output: 'done' }
  return responses.request({ input: [...output, result] }, dialect)
}

/** The same of the Messages API. */
function nextOfMessages(message: object, dialect: ChatDialect) {
  const { content } = messages.answer(completion(message), {})
  const use = (content as Record<string, unknown>[]).find(({ type }) => type === 'tool_use') // see above
  const result = { type: 'tool_result', tool_use_id: use?.['id'], content: 'done' }
  const turns = [
    { role: 'assistant', content },
    { role: 'user', content: [result] },
  ]
  return messages.request({ messages: turns }, dialect)
}

describe.each([
  ['responses', nextOfResponses],
  ['messages', nextOfMessages],
])('through %s', (_name, next) => {
  test.each(['google', 'litellm'])(
    'the signature of a call comes back to its maker, as %s says it',
    (name) => {
      const { body } = next({ tool_calls: calls(signedBy[name] ?? {}) }, 'plain')
      expect(body['messages']).toEqual([
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'call_1', type: 'function', function: called, ...signedBy['google'] }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'done' },
      ])
    },
  )

  test('thinking that is signed or hidden comes back whole, and to nobody else', () => {
    const message = { reasoning_content: 'Hm', thinking_blocks: blocks, tool_calls: calls({}) }
    const rich = next(message, 'rich')
    expect(rich.warnings).toEqual([])
    expect(rich.body['messages']).toMatchObject([
      { role: 'assistant', thinking_blocks: blocks, reasoning_content: 'Hm', tool_calls: calls({}) },
      { role: 'tool', tool_call_id: 'call_1' },
    ])
    const plain = next(message, 'plain')
    expect(JSON.stringify(plain.body)).not.toMatch(/xyz|s1/)
    expect(plain.warnings).toEqual([expect.stringMatching(/only its maker can read it/)])
  })
})

test('signed thinking is streamed as the items that it comes whole in', () => {
  const chunks = [
    chunkOf({ reasoning_content: 'Hm' }),
    chunkOf({ thinking_blocks: blocks.slice(0, 1) }),
    chunkOf({ thinking_blocks: blocks.slice(1) }),
    chunkOf({ tool_calls: [{ index: 0, id: 'call_1', function: called, ...signedBy['google'] }] }),
  ]
  const { events, answer } = streamOf(responses, chunks)
  const message = {
    reasoning_content: 'Hm',
    thinking_blocks: blocks,
    tool_calls: calls(signedBy['google'] ?? {}),
  }
  const whole = responses.answer({ ...chunks[0], choices: completion(message).choices }, {})
  expect(answer).toEqual(whole)
  const done = dataOf(events).filter(({ type }) => type === 'response.output_item.done')
  expect(done.map(({ item }) => item)).toEqual(whole['output'])
})

test("another maker's encrypted reasoning is left out", () => {
  const item = { type: 'reasoning', summary: [], encrypted_content: 'gAAAAAB' }
  const { body, warnings } = responses.request(
    { input: [item, { role: 'assistant', content: 'Hi' }] },
    'rich',
  )
  expect(body['messages']).toEqual([{ role: 'assistant', content: 'Hi' }])
  expect(warnings).toHaveLength(1)
})
