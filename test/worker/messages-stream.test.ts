import Anthropic from '@anthropic-ai/sdk'
import { MessageStream } from '@anthropic-ai/sdk/lib/MessageStream'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { messages } from '../../worker/translation/messages.ts'
import {
  anyCut,
  anySaid,
  chunkOf,
  chunksOf,
  completionOf,
  dataOf,
  foldOf,
  served,
  streamOf,
} from './chat-streams.ts'
import { THOUGHT_AND_CALLED, TURNS_FOR_SDKS } from './translated-turns.ts'

const request = { model: 'group', max_tokens: 100, stop_sequences: ['END'] }

const delta = (index: number, fields: object) => ({ type: 'content_block_delta', index, delta: fields })

test('events come in the order of the Messages API', () => {
  const whole = messages.answer(completionOf(THOUGHT_AND_CALLED), request)
  const none = {
    input_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: 0,
    output_tokens_details: null,
    server_tool_use: null,
  }
  expect(dataOf(streamOf(messages, chunksOf(THOUGHT_AND_CALLED, [9]), request).events)).toEqual([
    { type: 'message_start', message: { ...whole, content: [], stop_reason: null, usage: none } },
    {
      type: 'content_block_start',
      index: 0,
      content_block: { type: 'thinking', thinking: '', signature: '' },
    },
    delta(0, { type: 'thinking_delta', thinking: 'Hm' }),
    { type: 'content_block_stop', index: 0 },
    { type: 'content_block_start', index: 1, content_block: { type: 'text', text: '', citations: null } },
    delta(1, { type: 'text_delta', text: 'Hello' }),
    { type: 'content_block_stop', index: 1 },
    {
      type: 'content_block_start',
      index: 2,
      content_block: { type: 'tool_use', id: 'call_1', name: 'a', input: {}, caller: { type: 'direct' } },
    },
    delta(2, { type: 'input_json_delta', partial_json: '{"x":1}' }),
    { type: 'content_block_stop', index: 2 },
    {
      type: 'message_delta',
      delta: { stop_reason: 'tool_use', stop_sequence: null, stop_details: null, container: null },
      usage: whole['usage'],
    },
    { type: 'message_stop' },
  ])
})

test('nothing is written before the provider has begun to answer, and deltas go out with their chunk', () => {
  const stream = messages.stream(request)
  expect(stream.chunk({ id: '', choices: [], prompt_filter_results: [] })).toEqual([])
  expect(dataOf(stream.chunk(chunkOf({ role: 'assistant', content: '' })))).toMatchObject([
    { type: 'message_start', message: { id: 'msg_Ab1' } },
  ])
  expect(dataOf(stream.chunk(chunkOf({ content: 'He' }))).at(-1)).toMatchObject({ delta: { text: 'He' } })
  expect(stream.answer()).toMatchObject({ content: [{ text: 'He' }], stop_reason: null })
})

test('signatures and hidden thinking are streamed', () => {
  const thinking_blocks = [{ type: 'thinking', thinking: 'Hm', signature: 'sig' }]
  const chunks = [
    chunkOf({ reasoning_content: 'Hm' }),
    chunkOf({ thinking_blocks }),
    chunkOf({ thinking_blocks: [{ type: 'redacted_thinking', data: 'xyz' }] }),
    chunkOf({ content: 'Hi' }),
  ]
  const { events, answer } = streamOf(messages, chunks)
  const content = [
    { type: 'thinking', thinking: 'Hm', signature: 'sig' },
    { type: 'redacted_thinking', data: 'xyz' },
    { type: 'text', text: 'Hi', citations: null },
  ]
  expect(answer['content']).toEqual(content)
  expect(dataOf(events)).toContainEqual({
    type: 'content_block_delta',
    index: 0,
    delta: { type: 'signature_delta', signature: 'sig' },
  })
})

test('however a stream is cut and its calls mixed, its answer is that of one piece, also as the SDK puts it together', async () => {
  await fc.assert(
    fc.asyncProperty(anySaid, anyCut, async (said, { sizes, turns }) => {
      const { events, answer } = streamOf(messages, chunksOf(said, sizes, turns), request)
      expect(answer).toEqual(messages.answer(completionOf(said), request))
      const lines = dataOf(events).map((event) => `${JSON.stringify(event)}\n`)
      const stream = MessageStream.fromReadableStream(new Blob([lines.join('')]).stream())
      // Numbers that no double holds are kept as text on our side.
      const told = JSON.parse(JSON.stringify(answer)) as object // our own
      expect(await stream.finalMessage()).toMatchObject(told)
      expect(foldOf('messages', events)).toEqual(told)
    }),
    { numRuns: 100 },
  )
})

describe("the Anthropic SDK's messages.stream()", () => {
  test.each(TURNS_FOR_SDKS)('reads %s', async (_what, said) => {
    const { events, answer } = streamOf(messages, chunksOf(said, [2, 3]), request)
    await served(events, async (baseURL) => {
      const client = new Anthropic({ apiKey: 'sk-test', baseURL, maxRetries: 0 })
      const stream = client.messages.stream({
        model: 'group',
        max_tokens: 100,
        messages: [{ role: 'user', content: 'Hi' }],
      })
      const seen: string[] = []
      for await (const event of stream) seen.push(event.type)
      expect(seen).toEqual(dataOf(events).map(({ type }) => type))
      expect(await stream.finalMessage()).toMatchObject(answer)
    })
  })
})
