import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { createEventStream } from '../../worker/providers/event-stream.ts'

const chunk = (delta: object, finish: string | null = null) => ({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'm',
  choices: [{ index: 0, delta, finish_reason: finish }],
})
const lines = (...events: unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')

const CHAT = lines(
  chunk({ role: 'assistant', content: '' }),
  chunk({ content: 'Grüße ' }),
  chunk({ content: '😀' }),
  chunk({}, 'stop'),
  { ...chunk({}), choices: [], usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } },
  '[DONE]',
)

/** Feeds a text, cut after the given bytes, and tells what went on and how it ended. */
function run(text: string, cuts: readonly number[] = [], endpoint: EndpointName = 'chat') {
  const passed: Buffer[] = []
  const stream = createEventStream(endpoint, { write: (events) => passed.push(Buffer.from(events)) })
  const bytes = Buffer.from(text)
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  for (let at = 1; at < places.length; at += 1) stream.take(bytes.subarray(places[at - 1], places[at]))
  const end = stream.end()
  return {
    end,
    pieces: passed.map(String),
    sent: Buffer.concat(passed).toString(),
    partial: stream.partial(),
  }
}

describe('what goes on', () => {
  test('is every byte, however it came, in pieces that end where an event ends', () => {
    const cutting = fc.array(fc.nat(2_000), { maxLength: 12 })
    fc.assert(
      fc.property(cutting, fc.constantFrom('\n', '\r\n'), (cuts, newline) => {
        const text = `: hello\n\n${CHAT}`.replaceAll('\n', newline)
        const { sent, pieces, end } = run(text, cuts)
        expect(sent).toBe(text)
        for (const piece of pieces) expect(piece.endsWith(newline + newline)).toBe(true)
        expect(end).toMatchObject({
          kind: 'whole',
          whole: {
            choices: [{ message: { role: 'assistant', content: 'Grüße 😀' }, finish_reason: 'stop' }],
          },
        })
      }),
    )
  })

  test('is nothing before the first event with data: comments wait for it', () => {
    expect(run(': processing\n\n: processing\n\n').sent).toBe('')
  })

  test('is nothing of an error, which may come first and be tried again', () => {
    const { sent, end, partial } = run(`: hi\n\n${lines({ error: { message: 'busy', code: 429 } })}`)
    expect({ sent, partial }).toEqual({ sent: '', partial: null })
    expect(end).toMatchObject({ kind: 'failed' })
  })

  test('is all before an error in the same piece, and nothing after it', () => {
    const text = lines(chunk({ content: 'half' }), { error: { message: 'down' } }, chunk({ content: 'more' }))
    const { sent, end, partial } = run(text)
    expect(sent).toBe(lines(chunk({ content: 'half' })))
    expect(end).toMatchObject({ kind: 'failed' })
    expect(JSON.parse(String(partial))).toMatchObject({ choices: [{ message: { content: 'half' } }] })
  })
})

describe('how it ends', () => {
  test('without a reason to end and without [DONE] it was cut', () => {
    expect(run(lines(chunk({ content: 'half' }))).end).toEqual({ kind: 'cut' })
    expect(run('').end).toEqual({ kind: 'cut' })
  })

  test('without [DONE] it is whole only when all of its choices have ended', () => {
    expect(run(lines(choicePart(0, null), choicePart(1, null), choicePart(0, 'stop'))).end).toEqual({
      kind: 'cut',
    })
    expect(run(lines(choicePart(0, null), choicePart(1, 'stop'), choicePart(0, 'stop'))).end.kind).toBe(
      'whole',
    )
  })

  test('a [DONE] that the provider left out is added, an event without its blank line is complete', () => {
    const { sent, end } = run(lines(chunk({ content: 'x' }), chunk({}, 'stop')).trimEnd())
    expect(sent.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(end.kind).toBe('whole')
  })

  test('OpenRouter’s choice that broke off is an error', () => {
    const broken = {
      ...chunk({}),
      choices: [{ index: 0, delta: {}, finish_reason: 'error', error: { code: 502, message: 'x' } }],
    }
    expect(run(lines(chunk({ content: 'a' }), broken)).end).toMatchObject({ kind: 'failed' })
  })

  test.each([
    ['responses', 'response.failed', { response: { error: { code: 'server_error', message: 'x' } } }],
    ['responses', 'error', { code: 'server_error', message: 'x' }],
    ['messages', 'error', { error: { type: 'overloaded_error', message: 'x' } }],
  ] as const)('%s: %s is a failure', (endpoint, type, fields) => {
    const text = `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
    expect(run(text, [], endpoint)).toMatchObject({ sent: '', end: { kind: 'failed' } })
  })
})

describe('a provider that means ill', () => {
  test.each(['chat', 'completions', 'messages'] as const)(
    '%s: writes to no object but its own',
    (endpoint) => {
      const evil = '{"__proto__":{"trusted_base":true},"constructor":{"prototype":{"trusted_base":true}}}'
      run(
        [
          `data: {"id":"c","choices":[{"index":0,"delta":${evil},"logprobs":${evil}}]}\n\n`,
          `data: {"type":"message_start","message":{"id":"m","content":[],"usage":${evil},"x":${evil}}}\n\n`,
          `data: {"type":"content_block_start","index":0,"content_block":${evil}}\n\n`,
          `data: {"type":"content_block_delta","index":0,"delta":${evil}}\n\n`,
          `data: {"type":"message_delta","delta":${evil},"usage":${evil}}\n\n`,
        ].join(''),
        [],
        endpoint,
      )
      expect('trusted_base' in {}).toBe(false)
      expect('trusted_base' in Object).toBe(false)
    },
  )

  test('tells of any number of calls without holding up all others', () => {
    const calls = Array.from({ length: 100_000 }, (_, index) => ({ index, id: `c${index}` }))
    const before = process.threadCpuUsage()
    run(lines(chunk({ tool_calls: calls }), chunk({ tool_calls: calls }), '[DONE]'))
    const { user, system } = process.threadCpuUsage(before)
    // One after the other looked for, it was minutes.
    expect((user + system) / 1_000).toBeLessThan(5_000)
  })
})

describe('the whole answer', () => {
  test('of chat: parallel calls, reasoning, logprobs, several choices and usage', () => {
    const text = lines(
      chunk({ role: 'assistant', content: null, reasoning_content: 'Let ' }),
      chunk({ reasoning_content: 'me' }),
      callPiece(0, { id: 'call_1', type: 'function', function: { name: 'a', arguments: '' } }),
      callPiece(0, { function: { arguments: '{"x":' } }),
      callPiece(1, { id: 'call_2', type: 'function', function: { name: 'b', arguments: '{}' } }),
      callPiece(0, { function: { arguments: '1}' } }),
      {
        ...chunk({}),
        choices: [
          { index: 1, delta: { content: 'B' }, logprobs: { content: [{ token: 'B' }] }, finish_reason: null },
        ],
      },
      {
        ...chunk({}),
        choices: [
          {
            index: 1,
            delta: { content: 'C' },
            logprobs: { content: [{ token: 'C' }] },
            finish_reason: 'length',
          },
        ],
      },
      chunk({}, 'tool_calls'),
      { ...chunk({}), choices: [], usage: { total_tokens: 5 } },
      '[DONE]',
    )
    expect(wholeOf(text)).toEqual({
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1,
      model: 'm',
      usage: { total_tokens: 5 },
      choices: [
        {
          index: 0,
          finish_reason: 'tool_calls',
          message: {
            role: 'assistant',
            content: null,
            reasoning_content: 'Let me',
            tool_calls: [
              { id: 'call_1', type: 'function', function: { name: 'a', arguments: '{"x":1}' } },
              { id: 'call_2', type: 'function', function: { name: 'b', arguments: '{}' } },
            ],
          },
        },
        {
          index: 1,
          finish_reason: 'length',
          logprobs: { content: [{ token: 'B' }, { token: 'C' }] },
          message: { role: 'assistant', content: 'BC' },
        },
      ],
    })
  })

  test('of chat at Azure: what is said again with each chunk is said once', () => {
    const safe = { hate: { filtered: false, severity: 'safe' } }
    const told = { content_filter_results: safe, stop_reason: 'x' }
    const part = (content: string, finish: string | null) => ({
      ...chunk({}),
      choices: [{ index: 0, delta: { content }, finish_reason: finish, ...told }],
    })
    const first = { id: '', object: '', created: 0, model: '', choices: [], prompt_filter_results: [safe] }
    expect(wholeOf(lines(first, part('a', null), part('b', 'stop'), '[DONE]'))).toMatchObject({
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1,
      model: 'm',
      prompt_filter_results: [safe],
      choices: [{ message: { content: 'ab' }, ...told }],
    })
  })

  test('of completions: text grows', () => {
    expect(wholeOf(lines(textPart('a', null), textPart('b', 'stop'), '[DONE]'), 'completions')).toEqual({
      id: 'c',
      object: 'text_completion',
      choices: [{ index: 0, text: 'ab', finish_reason: 'stop' }],
    })
  })

  test('of responses: what its last event says', () => {
    const text =
      named('response.created', { response: { id: 'resp_1', output: [] } }) +
      named('response.completed', {
        response: { id: 'resp_1', output: [{ type: 'message' }], usage: { input_tokens: 1 } },
      })
    expect(wholeOf(text, 'responses')).toMatchObject({
      output: [{ type: 'message' }],
      usage: { input_tokens: 1 },
    })
  })

  test('of messages: text, thinking, and a tool’s input as an object', () => {
    const delta = (index: number, more: object) => named('content_block_delta', { index, delta: more })
    const text =
      named('message_start', {
        message: { id: 'msg_1', content: [], usage: { input_tokens: 4, output_tokens: 1 } },
      }) +
      named('ping') +
      named('content_block_start', { index: 0, content_block: { type: 'thinking', thinking: '' } }) +
      delta(0, { type: 'thinking_delta', thinking: 'hm' }) +
      delta(0, { type: 'signature_delta', signature: 'sig' }) +
      named('content_block_start', { index: 1, content_block: { type: 'text', text: '' } }) +
      delta(1, { type: 'text_delta', text: 'Hal' }) +
      delta(1, { type: 'text_delta', text: 'lo' }) +
      named('content_block_start', {
        index: 2,
        content_block: { type: 'tool_use', id: 't', name: 'f', input: {} },
      }) +
      delta(2, { type: 'input_json_delta', partial_json: '{"a":' }) +
      delta(2, { type: 'input_json_delta', partial_json: '1}' }) +
      named('message_delta', { delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 9 } }) +
      named('message_stop')
    expect(wholeOf(text, 'messages')).toEqual({
      id: 'msg_1',
      content: [
        { type: 'thinking', thinking: 'hm', signature: 'sig' },
        { type: 'text', text: 'Hallo' },
        { type: 'tool_use', id: 't', name: 'f', input: { a: 1 } },
      ],
      stop_reason: 'tool_use',
      usage: { input_tokens: 4, output_tokens: 9 },
    })
  })
})

function wholeOf(text: string, endpoint: EndpointName = 'chat') {
  const { end } = run(text, [], endpoint)
  return end.kind === 'whole' ? end.whole : end
}

/** A named event, its name in its data too. */
function named(type: string, more: object = {}): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`
}

/** A chunk's delta with a piece of a tool call. */
function callPiece(index: number, more: object) {
  return chunk({ tool_calls: [{ index, ...more }] })
}

function textPart(text: string, finish: string | null) {
  return { id: 'c', object: 'text_completion', choices: [{ index: 0, text, finish_reason: finish }] }
}

/** A chunk of one of several choices. */
function choicePart(index: number, finish: string | null) {
  return { ...chunk({}), choices: [{ index, delta: { content: 'x' }, finish_reason: finish }] }
}
