import type { Said } from './chat-streams.ts'

/** A call of a function, as a message of a chat completion holds it. */
export const chatCall = (id: string, name: string, text: string) => ({
  id,
  type: 'function',
  function: { name, arguments: text },
})

/** A turn of thinking, words and one call. */
export const THOUGHT_AND_CALLED: Said = {
  reasoning_content: 'Hm',
  content: 'Hello',
  calls: [{ id: 'call_1', name: 'a', text: '{"x":1}' }],
  finish_reason: 'tool_calls',
}

const calls = [
  { id: 'call_1', name: 'a', text: '{"x":1}' },
  { id: 'call_2', name: 'b', text: '{}' },
]
/** The turns that every SDK is to read from a stream, each with its name. */
export const TURNS_FOR_SDKS: [string, Said][] = [
  ['text', { content: 'Hello there' }],
  ['parallel calls after reasoning', { reasoning_content: 'Hm, well', calls, finish_reason: 'tool_calls' }],
  ['a refusal', { refusal: 'I can not.' }],
  ['a length stop', { content: 'Hel', finish_reason: 'length' }],
  ['nothing', {}],
]
