import fc from 'fast-check'
import OpenAI from 'openai'
import { ResponseStream } from 'openai/lib/responses/ResponseStream'
import OpenAI6 from 'openai-v6'
import { describe, expect, test } from 'vitest'
import { responses } from '../../worker/translation/responses.ts'
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

const request = { model: 'group', input: 'Hi', instructions: 'Be brief.', metadata: { a: 'b' } }
const typesOf = (chunks: Record<string, unknown>[]) =>
  dataOf(streamOf(responses, chunks, request).events).map(({ type }) => String(type).replace('response.', ''))

test('events come in the order of the Responses API, each with its number', () => {
  const { events } = streamOf(responses, chunksOf(THOUGHT_AND_CALLED, [9]), request)
  const data = dataOf(events)
  expect(data.map(({ sequence_number: number }) => number)).toEqual(data.map((_, number) => number))
  const rs = { item_id: 'rs_Ab1_0', output_index: 0, summary_index: 0 }
  const msg = { item_id: 'msg_Ab1_1', output_index: 1, content_index: 0 }
  const fc1 = { item_id: 'fc_Ab1_2', output_index: 2 }
  const text = { type: 'output_text', annotations: [], logprobs: [] }
  const message = { id: msg.item_id, type: 'message', role: 'assistant' }
  const call = { id: fc1.item_id, type: 'function_call', call_id: 'call_1', name: 'a' }
  const whole = responses.answer(completionOf(THOUGHT_AND_CALLED), request)
  const begun = { ...whole, status: 'in_progress', output: [], usage: null }
  const output = whole['output'] as unknown[] // asserted in the test of answers
  expect(data.map(({ sequence_number: _number, ...event }) => event)).toEqual([
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    {
      type: 'response.output_item.added',
      output_index: 0,
      item: { id: rs.item_id, type: 'reasoning', summary: [], status: 'in_progress' },
    },
    { type: 'response.reasoning_summary_part.added', ...rs, part: { type: 'summary_text', text: '' } },
    { type: 'response.reasoning_summary_text.delta', ...rs, delta: 'Hm' },
    { type: 'response.reasoning_summary_text.done', ...rs, text: 'Hm' },
    { type: 'response.reasoning_summary_part.done', ...rs, part: { type: 'summary_text', text: 'Hm' } },
    { type: 'response.output_item.done', output_index: 0, item: output[0] },
    {
      type: 'response.output_item.added',
      output_index: 1,
      item: { ...message, content: [], status: 'in_progress' },
    },
    { type: 'response.content_part.added', ...msg, part: { ...text, text: '' } },
    { type: 'response.output_text.delta', ...msg, delta: 'Hello', logprobs: [] },
    { type: 'response.output_text.done', ...msg, text: 'Hello', logprobs: [] },
    { type: 'response.content_part.done', ...msg, part: { ...text, text: 'Hello' } },
    { type: 'response.output_item.done', output_index: 1, item: output[1] },
    {
      type: 'response.output_item.added',
      output_index: 2,
      item: { ...call, arguments: '', status: 'in_progress' },
    },
    { type: 'response.function_call_arguments.delta', ...fc1, delta: '{"x":1}' },
    { type: 'response.function_call_arguments.done', ...fc1, name: 'a', arguments: '{"x":1}' },
    { type: 'response.output_item.done', output_index: 2, item: output[2] },
    { type: 'response.completed', response: whole },
  ])
})

test('nothing is written before the provider has begun to answer, and deltas go out with their chunk', () => {
  const stream = responses.stream(request)
  expect(stream.chunk({ id: '', choices: [], prompt_filter_results: [] })).toEqual([])
  expect(dataOf(stream.chunk(chunkOf({ role: 'assistant', content: '' })))).toHaveLength(2)
  expect(dataOf(stream.chunk(chunkOf({ content: 'He' }))).at(-1)).toMatchObject({ delta: 'He' })
  expect(stream.answer()).toMatchObject({ status: 'in_progress', output: [{ content: [{ text: 'He' }] }] })
})

test('a limit ends in response.incomplete', () => {
  const types = typesOf(chunksOf({ content: 'Hel', finish_reason: 'length' }))
  expect(types.slice(-2)).toEqual(['output_item.done', 'incomplete'])
})

test('citations are events of their own', () => {
  const url_citation = { url: 'https://x.test', title: 'X', start_index: 0, end_index: 2 }
  const annotations = [{ type: 'url_citation', url_citation }]
  const { events, answer } = streamOf(responses, [chunkOf({ content: 'Hi' }), chunkOf({ annotations })])
  const flat = { type: 'url_citation', ...url_citation }
  expect(dataOf(events)).toContainEqual(
    expect.objectContaining({
      type: 'response.output_text.annotation.added',
      annotation_index: 0,
      annotation: flat,
    }),
  )
  expect(answer).toMatchObject({ output: [{ content: [{ text: 'Hi', annotations: [flat] }] }] })
})

const call = (index: number, fields: object) => chunkOf({ tool_calls: [{ index, ...fields }] })
const begin = (index: number, id = `c${index}`, text = '{') =>
  call(index, { id, function: { name: 'f', arguments: text } })

test('a second call streams at once when the first is whole, and waits when calls are mixed', () => {
  const stream = responses.stream({})
  stream.chunk(begin(0))
  expect(stream.chunk(begin(1))).toEqual([])
  expect(stream.chunk(call(1, { function: { arguments: '"b":1' } }))).toEqual([])
  const types = dataOf(stream.chunk(call(0, { function: { arguments: '}' } }))).map(({ type }) => type)
  expect(types).toEqual([
    'response.function_call_arguments.delta',
    'response.function_call_arguments.done',
    'response.output_item.done',
    'response.output_item.added',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.delta',
  ])
  const last = dataOf(stream.chunk(call(1, { function: { arguments: '}' } })))
  expect(last).toMatchObject([{ delta: '}', output_index: 1 }])
})

const signed = (thinking: string, signature: string) => [{ type: 'thinking', thinking, signature }]

test('thinking that is signed piece by piece, or whole when it is complete, is told once', () => {
  const pieces = [
    chunkOf({ reasoning_content: 'a', thinking_blocks: signed('a', '') }),
    chunkOf({ reasoning_content: 'b', thinking_blocks: signed('b', '') }),
    chunkOf({ thinking_blocks: signed('', 's1') }),
  ]
  const whole = [
    chunkOf({ reasoning_content: 'a' }),
    chunkOf({ reasoning_content: 'b' }),
    chunkOf({ thinking_blocks: signed('ab', 's1') }),
  ]
  const only = [
    chunkOf({ thinking_blocks: signed('a', '') }),
    chunkOf({ thinking_blocks: signed('b', 's1') }),
  ]
  for (const chunks of [pieces, whole, only]) {
    const { answer } = streamOf(responses, [...chunks, chunkOf({ reasoning_content: 'c' })])
    const thoughts = [{ summary: [{ text: 'ab' }] }, { summary: [{ text: 'c' }] }]
    expect(answer).toMatchObject({ output: thoughts })
  }
})

test('calls that all have index 0 are told apart by their ids', () => {
  const { answer } = streamOf(responses, [begin(0, 'x', '{"id":"x"}'), begin(0, 'y', '{}')])
  expect(answer).toMatchObject({ output: [{ call_id: 'x', arguments: '{"id":"x"}' }, { call_id: 'y' }] })
})

test('however a stream is cut and its calls mixed, its answer is that of one piece, also as the SDK puts it together', async () => {
  await fc.assert(
    fc.asyncProperty(anySaid, anyCut, async (said, { sizes, turns }) => {
      const { events, answer } = streamOf(responses, chunksOf(said, sizes, turns), request)
      expect(answer).toEqual(responses.answer(completionOf(said), request))
      const data = dataOf(events)
      expect(data.at(-1)?.['response']).toEqual(answer)
      expect(foldOf('responses', events)).toEqual(answer)
      // Without the last event the SDK has only the items to go by.
      const built = await readBySdk(data.slice(0, -1))
      expect(built).toMatchObject({ output: answer['output'] })
      expect(await readBySdk(data)).toMatchObject(answer)
    }),
    { numRuns: 100 },
  )
})

function readBySdk(data: Record<string, unknown>[]) {
  const lines = data.map((event) => `${JSON.stringify(event)}\n`).join('')
  return ResponseStream.fromReadableStream(new Blob([lines]).stream()).finalResponse()
}

type SdkStream = AsyncIterable<{ type: string }> & { finalResponse: () => Promise<{ output_text: string }> }

const options = (baseURL: string) => ({ apiKey: 'sk-test', baseURL, maxRetries: 0 })
const params = { model: 'group', input: 'Hi' }

describe.each<[string, (url: string) => SdkStream]>([
  ['openai 7', (url) => new OpenAI(options(url)).responses.stream(params)],
  ['openai 6', (url) => new OpenAI6(options(url)).responses.stream(params)],
])("%s's responses.stream()", (_name, open) => {
  test.each(TURNS_FOR_SDKS)('reads %s', async (_what, said) => {
    const { events, answer } = streamOf(responses, chunksOf(said, [2, 3]), request)
    await served(events, async (url) => {
      const stream = open(url)
      const seen: string[] = []
      for await (const event of stream) seen.push(event.type)
      expect(seen).toEqual(dataOf(events).map(({ type }) => type))
      const final = await stream.finalResponse()
      expect(final).toMatchObject(answer)
      expect(final.output_text).toBe(said.content ?? '')
    })
  })
})
