import { expect, test } from 'vitest'
import { messages } from '../../worker/translation/messages.ts'
import type { ChatDialect } from '../../worker/translation/translation.ts'
import { chatCall } from './translated-turns.ts'

const ask = (request: Record<string, unknown>, dialect: ChatDialect = 'plain') =>
  messages.request({ model: 'm', ...request }, dialect)
const said = (content: unknown, dialect: ChatDialect = 'plain', role = 'user') => {
  const { body, warnings } = ask({ messages: [{ role, content }] }, dialect)
  return { messages: body['messages'], warnings }
}
const named = (warnings: string[]) =>
  warnings.map((warning) => /^`([^`]+)` was left out: .+\.$/.exec(warning)?.[1])

test('a request goes out as the chat completion that says the same', () => {
  const schema = { type: 'object', properties: { city: { type: 'string' } } }
  const request = {
    model: 'group',
    system: 'Be brief.',
    messages: [{ role: 'user', content: 'What is the weather?' }],
    tools: [
      { name: 'weather', description: 'Asks', input_schema: schema },
      { type: 'custom', name: 'time', input_schema: schema, strict: true },
    ],
    tool_choice: { type: 'tool', name: 'weather', disable_parallel_tool_use: true },
    max_tokens: 100,
    stop_sequences: ['END'],
    temperature: 0.5,
    top_p: 0.9,
    top_k: 5,
    metadata: { user_id: 'u' },
    output_config: { effort: 'medium', format: { type: 'json_schema', schema } },
    thinking: { type: 'adaptive' },
    service_tier: 'standard_only',
    stream: true,
    vendor_field: { deep: [null] },
  }
  const before = structuredClone(request)
  expect(messages.request(request, 'plain')).toEqual({
    body: {
      model: 'group',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'What is the weather?' },
      ],
      tools: [
        { type: 'function', function: { name: 'weather', description: 'Asks', parameters: schema } },
        { type: 'function', function: { name: 'time', parameters: schema, strict: true } },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      max_completion_tokens: 100,
      stop: ['END'],
      temperature: 0.5,
      top_p: 0.9,
      top_k: 5,
      user: 'u',
      reasoning_effort: 'medium',
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
      service_tier: 'default',
      stream: true,
      stream_options: { include_usage: true },
      vendor_field: { deep: [null] },
    },
    warnings: [],
  })
  expect(request).toEqual(before)
})

test('a conversation keeps its turns: results of tools come first, and a failed one says so', () => {
  const { body, warnings } = ask({
    system: [
      { type: 'text', text: 'One' },
      { type: 'text', text: 'Two' },
    ],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Look' },
          { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA' } },
          { type: 'image', source: { type: 'url', url: 'https://x.test/a.png' } },
          {
            type: 'document',
            title: 'b.pdf',
            source: { type: 'base64', media_type: 'application/pdf', data: 'BB' },
          },
          {
            type: 'document',
            title: 'Notes',
            source: { type: 'text', media_type: 'text/plain', data: 'text' },
          },
          { type: 'search_result', title: 'T', source: 'S', content: [{ type: 'text', text: 'found' }] },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'Hm', signature: 'sig' },
          { type: 'text', text: 'I ' },
          { type: 'text', text: 'look.' },
          { type: 'tool_use', id: 'toolu_1', name: 'a', input: { x: 1 } },
          { type: 'tool_use', id: 'toolu_2', name: 'b', input: {} },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: 'one' },
          {
            type: 'tool_result',
            tool_use_id: 'toolu_2',
            is_error: true,
            content: [{ type: 'text', text: 'no' }],
          },
          { type: 'text', text: 'Go on' },
        ],
      },
      { role: 'system', content: 'Now in French.' },
      { role: 'assistant', content: 'Bien' },
    ],
  })
  expect(warnings).toEqual([])
  expect(body['messages']).toEqual([
    { role: 'system', content: 'One\n\nTwo' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'Look' },
        { type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } },
        { type: 'image_url', image_url: { url: 'https://x.test/a.png' } },
        { type: 'file', file: { filename: 'b.pdf', file_data: 'data:application/pdf;base64,BB' } },
        { type: 'text', text: 'Notes\n\ntext' },
        { type: 'text', text: 'T\nS\n\nfound' },
      ],
    },
    {
      role: 'assistant',
      content: 'I look.',
      reasoning_content: 'Hm',
      tool_calls: [chatCall('toolu_1', 'a', '{"x":1}'), chatCall('toolu_2', 'b', '{}')],
    },
    { role: 'tool', tool_call_id: 'toolu_1', content: 'one' },
    { role: 'tool', tool_call_id: 'toolu_2', content: 'Error: no' },
    { role: 'user', content: 'Go on' },
    { role: 'system', content: 'Now in French.' },
    { role: 'assistant', content: 'Bien' },
  ])
})

const ephemeral = { type: 'ephemeral' }
const image = { type: 'image', source: { type: 'url', url: 'https://x.test/a.png' } }
const marked = {
  system: [{ type: 'text', text: 'Long', cache_control: ephemeral }],
  tools: [{ name: 'f', input_schema: {}, cache_control: ephemeral }],
  messages: [
    { role: 'user', content: [{ type: 'text', text: 'Hi', cache_control: ephemeral }] },
    {
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: 'Hm', signature: 'sig' },
        { type: 'redacted_thinking', data: 'xyz' },
        { type: 'tool_use', id: 't', name: 'f', input: {} },
      ],
    },
    {
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: 't', content: [image], cache_control: ephemeral }],
    },
  ],
}
const imagePart = { type: 'image_url', image_url: { url: 'https://x.test/a.png' } }

test('marks, signed thinking and images of tools go to providers that are known to take them', () => {
  const { body, warnings } = ask(marked, 'rich')
  expect(warnings).toEqual([])
  expect(body).toEqual({
    model: 'm',
    tools: [{ type: 'function', function: { name: 'f', parameters: {} }, cache_control: ephemeral }],
    messages: [
      { role: 'system', content: [{ type: 'text', text: 'Long', cache_control: ephemeral }] },
      { role: 'user', content: [{ type: 'text', text: 'Hi', cache_control: ephemeral }] },
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'Hm',
        thinking_blocks: [
          { type: 'thinking', thinking: 'Hm', signature: 'sig' },
          { type: 'redacted_thinking', data: 'xyz' },
        ],
        tool_calls: [chatCall('t', 'f', '{}')],
      },
      { role: 'tool', tool_call_id: 't', content: [imagePart], cache_control: ephemeral },
    ],
  })
})

test('others are sent none of it, and that is said', () => {
  const { body, warnings } = ask(marked)
  expect(body['messages']).toEqual([
    { role: 'system', content: 'Long' },
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: null, reasoning_content: 'Hm', tool_calls: [chatCall('t', 'f', '{}')] },
    { role: 'tool', tool_call_id: 't', content: '' },
    { role: 'user', content: [imagePart] },
  ])
  expect(named(warnings)).toEqual(['cache_control', 'redacted_thinking', undefined])
  expect(warnings.at(-1)).toMatch(/a message of the user behind it/)
})

test('all that a chat completion has no place for is left out and named', () => {
  const { body, warnings } = ask({
    max_tokens: 10,
    messages: [
      {
        role: 'user',
        content: [
          { type: 'image', source: { type: 'file', file_id: 'file_1' } },
          { type: 'document', source: { type: 'url', url: 'https://x.test/a.pdf' } },
          { type: 'container_upload', file_id: 'file_2' },
          { type: 'text', text: 'Hi' },
        ],
      },
      { role: 'assistant', content: [{ type: 'server_tool_use', id: 's', name: 'web_search', input: {} }] },
    ],
    tools: [{ type: 'web_search_20250305', name: 'web_search' }],
    tool_choice: { type: 'any' },
    container: 'c',
    mcp_servers: [],
  })
  expect(body).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'Hi' }],
    max_completion_tokens: 10,
  })
  expect(named(warnings)).toEqual([
    'container',
    'mcp_servers',
    'image source file',
    'document source url',
    'content block container_upload',
    'content block server_tool_use',
    'tool web_search_20250305',
  ])
})

const budget = (budget_tokens: number) => ({ thinking: { type: 'enabled', budget_tokens } })

test('a budget of thinking becomes an effort, which is said', () => {
  const effortOf = (request: Record<string, unknown>) =>
    ask({ messages: [], ...request }).body['reasoning_effort']
  expect([1_024, 4_096, 10_000, 16_384, 32_000].map((tokens) => effortOf(budget(tokens)))).toEqual([
    'low',
    'low',
    'medium',
    'medium',
    'high',
  ])
  expect(ask({ messages: [], ...budget(1_024) }).warnings).toEqual([
    '`thinking.budget_tokens` was said as a reasoning effort, low.',
  ])
  expect(effortOf({ ...budget(1_024), output_config: { effort: 'max' } })).toBe('max')
  expect(effortOf({ thinking: { type: 'disabled' } })).toBeUndefined()
})

const choiceOf = (tool_choice: unknown) =>
  ask({ messages: [], tools: [{ name: 'f', input_schema: {} }], tool_choice }).body

test('choices among tools keep their meaning', () => {
  expect(choiceOf({ type: 'auto' })).toMatchObject({ tool_choice: 'auto' })
  expect(choiceOf({ type: 'auto', disable_parallel_tool_use: false })['parallel_tool_calls']).toBeUndefined()
  expect(choiceOf({ type: 'any' })).toMatchObject({ tool_choice: 'required' })
  expect(choiceOf({ type: 'none' })).toMatchObject({ tool_choice: 'none' })
})

test('a request of wrong shapes is no failure here: the provider says what is wrong', () => {
  for (const content of [
    5,
    null,
    [1, 'a', null],
    [{ type: 'image' }],
    [{ type: 'tool_result', content: 5 }],
  ]) {
    expect(() => said(content)).not.toThrow()
    expect(() => said(content, 'rich', 'assistant')).not.toThrow()
  }
  expect(
    ask({ messages: 5, system: 5, tools: 'x', tool_choice: 'auto', thinking: 1 }).body['messages'],
  ).toEqual([])
})
