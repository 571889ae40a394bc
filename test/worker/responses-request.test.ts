import { expect, test } from 'vitest'
import type { ChatDialect } from '../../worker/translation/translation.ts'
import { responses } from '../../worker/translation/responses.ts'
import { chatCall } from './translated-turns.ts'

const ask = (request: Record<string, unknown>, dialect: ChatDialect = 'plain') =>
  responses.request({ model: 'm', ...request }, dialect)

test('a request goes out as the chat completion that says the same', () => {
  const schema = { type: 'object', properties: { city: { type: 'string' } } }
  const request = {
    model: 'group',
    instructions: 'Be brief.',
    input: 'What is the weather?',
    tools: [{ type: 'function', name: 'weather', description: 'Asks', parameters: schema, strict: true }],
    tool_choice: { type: 'function', name: 'weather' },
    parallel_tool_calls: false,
    text: { format: { type: 'json_schema', name: 'answer', schema, strict: true }, verbosity: 'low' },
    reasoning: { effort: 'low' },
    max_output_tokens: 100,
    temperature: 0.5,
    top_p: 0.9,
    top_logprobs: 2,
    include: ['message.output_text.logprobs'],
    metadata: { a: 'b' },
    user: 'u',
    safety_identifier: 's',
    prompt_cache_key: 'k',
    service_tier: 'flex',
    store: false,
    truncation: 'disabled',
    background: false,
    stream: true,
    vendor_field: { deep: [null] },
  }
  const before = structuredClone(request)
  expect(responses.request(request, 'plain')).toEqual({
    body: {
      model: 'group',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'What is the weather?' },
      ],
      tools: [
        {
          type: 'function',
          function: { name: 'weather', description: 'Asks', parameters: schema, strict: true },
        },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
      verbosity: 'low',
      reasoning_effort: 'low',
      max_completion_tokens: 100,
      temperature: 0.5,
      top_p: 0.9,
      logprobs: true,
      top_logprobs: 2,
      metadata: { a: 'b' },
      user: 'u',
      safety_identifier: 's',
      prompt_cache_key: 'k',
      service_tier: 'flex',
      store: false,
      stream: true,
      stream_options: { include_usage: true },
      vendor_field: { deep: [null] },
    },
    warnings: [],
  })
  expect(request).toEqual(before)
})

test('a conversation of items becomes one of messages, a turn of the model one message', () => {
  const input = [
    { role: 'developer', content: 'Rules' },
    {
      type: 'message',
      role: 'user',
      content: [
        { type: 'input_text', text: 'Look' },
        { type: 'input_image', image_url: 'data:image/png;base64,AA', detail: 'low' },
        { type: 'input_file', file_data: 'data:application/pdf;base64,BB', filename: 'b.pdf' },
        { type: 'input_audio', input_audio: { data: 'CC', format: 'wav' } },
      ],
    },
    { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm' }] },
    {
      type: 'message',
      id: 'msg_1',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: 'I look.', annotations: [] }],
    },
    { type: 'function_call', id: 'fc_1', call_id: 'call_1', name: 'a', arguments: '{"x":1}' },
    { type: 'function_call', id: 'fc_2', call_id: 'call_2', name: 'b', arguments: '{}' },
    { type: 'function_call_output', call_id: 'call_1', output: 'one' },
    { type: 'function_call_output', call_id: 'call_2', output: [{ type: 'input_text', text: 'two' }] },
    { type: 'reasoning', id: 'rs_2', summary: [], content: [{ type: 'reasoning_text', text: 'So' }] },
    { role: 'assistant', content: 'Done.' },
    { role: 'user', content: [{ type: 'input_text', text: 'Thanks' }] },
  ]
  const { body, warnings } = ask({ input })
  expect(warnings).toEqual([])
  expect(body['messages']).toEqual([
    { role: 'system', content: 'Rules' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'Look' },
        { type: 'image_url', image_url: { url: 'data:image/png;base64,AA', detail: 'low' } },
        { type: 'file', file: { file_data: 'data:application/pdf;base64,BB', filename: 'b.pdf' } },
        { type: 'input_audio', input_audio: { data: 'CC', format: 'wav' } },
      ],
    },
    {
      role: 'assistant',
      content: 'I look.',
      reasoning_content: 'Hm',
      tool_calls: [chatCall('call_1', 'a', '{"x":1}'), chatCall('call_2', 'b', '{}')],
    },
    { role: 'tool', tool_call_id: 'call_1', content: 'one' },
    { role: 'tool', tool_call_id: 'call_2', content: 'two' },
    { role: 'assistant', content: 'Done.', reasoning_content: 'So' },
    { role: 'user', content: 'Thanks' },
  ])
})

test('a refusal stays one, and two messages of the model in a row stay two', () => {
  const refused = { type: 'message', role: 'assistant', content: [{ type: 'refusal', refusal: 'No.' }] }
  const { body } = ask({
    input: [refused, { role: 'assistant', content: 'a' }, { role: 'assistant', content: 'b' }],
  })
  expect(body['messages']).toEqual([
    { role: 'assistant', content: 'a', refusal: 'No.' },
    { role: 'assistant', content: 'b' },
  ])
})

const outputOf = (call_id: string) => ({
  type: 'function_call_output',
  call_id,
  output: [
    { type: 'input_text', text: 'see' },
    { type: 'input_image', image_url: `https://x.test/${call_id}` },
  ],
})

test('images that tools gave go behind the messages of all tools, and that is said', () => {
  const { body, warnings } = ask({ input: [outputOf('a'), outputOf('b'), { role: 'user', content: 'And?' }] })
  expect(body['messages']).toEqual([
    { role: 'tool', tool_call_id: 'a', content: 'see' },
    { role: 'tool', tool_call_id: 'b', content: 'see' },
    {
      role: 'user',
      content: [
        { type: 'image_url', image_url: { url: 'https://x.test/a' } },
        { type: 'image_url', image_url: { url: 'https://x.test/b' } },
        { type: 'text', text: 'And?' },
      ],
    },
  ])
  expect(warnings).toEqual(['Images and files that a tool gave were put in a message of the user behind it.'])
  expect(ask({ input: [outputOf('a')] }).body['messages']).toHaveLength(2)
  const rich = ask({ input: [outputOf('a')] }, 'rich')
  expect(rich).toMatchObject({ body: { messages: [{ content: [{ text: 'see' }, {}] }] }, warnings: [] })
})

test('all that a chat completion has no place for is left out and named', () => {
  const { body, warnings } = ask({
    input: [
      { type: 'item_reference', id: 'msg_1' },
      { type: 'web_search_call', id: 'ws_1', status: 'completed' },
      { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'xyz' },
      {
        role: 'user',
        content: [
          { type: 'input_image', file_id: 'file-1' },
          { type: 'input_text', text: 'Hi' },
        ],
      },
      { role: 'user', content: [{ type: 'input_file', file_url: 'https://x.test/a.pdf' }] },
    ],
    tools: [{ type: 'web_search' }, { type: 'mcp', server_label: 's' }, { type: 'function', name: 'f' }],
    tool_choice: { type: 'web_search_preview' },
    reasoning: { effort: 'high', summary: 'auto' },
    include: ['reasoning.encrypted_content', 'web_search_call.results'],
    truncation: 'auto',
    previous_response_id: 'resp_1',
    conversation: 'conv_1',
    prompt: { id: 'pmpt_1' },
    max_tool_calls: 3,
  })
  expect(body).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'Hi' }],
    tools: [{ type: 'function', function: { name: 'f' } }],
    reasoning_effort: 'high',
  })
  expect(warnings.map((warning) => /`([^`]+)` was left out: .+\.$/.exec(warning)?.[1])).toEqual([
    'conversation',
    'max_tool_calls',
    'previous_response_id',
    'prompt',
    'truncation',
    'input item item_reference',
    'input item web_search_call',
    'reasoning.encrypted_content',
    'input_image.file_id',
    'input_file.file_url',
    'tool web_search',
    'tool mcp',
    'tool_choice web_search_preview',
    'reasoning.summary',
    'include web_search_call.results',
  ])
})

test('choices among tools are said in their nested form, and none is made where no tool is left', () => {
  const tools = [{ type: 'function', name: 'f' }]
  const choiceOf = (tool_choice: unknown) => ask({ input: 'Hi', tools, tool_choice }).body['tool_choice']
  expect(choiceOf('required')).toBe('required')
  const allowed = { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'f' }] }
  expect(choiceOf(allowed)).toEqual({
    type: 'allowed_tools',
    allowed_tools: { mode: 'auto', tools: [{ type: 'function', function: { name: 'f' } }] },
  })
  const none = ask({
    input: 'Hi',
    tools: [{ type: 'custom', name: 'c' }],
    tool_choice: 'required',
    parallel_tool_calls: true,
  })
  expect(none.body).toEqual({ model: 'm', messages: [{ role: 'user', content: 'Hi' }] })
})

test('plain text and no streaming are said by saying nothing', () => {
  const { body } = ask({ input: 'Hi', text: { format: { type: 'text' } }, stream: null, reasoning: null })
  expect(body).toEqual({ model: 'm', messages: [{ role: 'user', content: 'Hi' }] })
  const json = ask({ input: 'Hi', text: { format: { type: 'json_object' } } }).body
  expect(json['response_format']).toEqual({ type: 'json_object' })
})

test('a request of wrong shapes is no failure here: the provider says what is wrong', () => {
  for (const input of [5, null, [1, 'a', null], [{ role: 'user', content: 5 }], [{ type: 'reasoning' }]]) {
    expect(ask({ input, tools: 5, text: 'x', reasoning: 'y', include: 'z' }).body['model']).toBe('m')
  }
})
