import { isObject } from '../providers/error-body.ts'
import { signatureOfCall } from './call-ids.ts'
import { isText, listOf } from './json-values.ts'

type JsonObject = Record<string, unknown>

/** What a chat completion, or one chunk of it, adds to an answer. */
export type Piece =
  | { kind: 'reasoning'; text: string; signature: string }
  /** Reasoning that only its maker can read. */
  | { kind: 'redacted'; text: string }
  | { kind: 'text'; text: string; logprobs: unknown[]; annotations: JsonObject[] }
  | { kind: 'refusal'; text: string }
  /** `index` tells which call is meant, null: not said. `text` belongs to its arguments. */
  | { kind: 'call'; text: string; index: number | null; id: string; name: string; signature: string }

/**
 * Reads a choice, its `message` or its `delta`, in the order in which a whole message is told.
 * @param hasThoughts Thoughts came before as `reasoning_content`: what a block of thinking adds to them is its signature.
 */
export function readPieces(choice: JsonObject, hasThoughts = false): Piece[] {
  const isDelta = isObject(choice['delta'])
  const message = isDelta ? choice['delta'] : choice['message']
  if (!isObject(message)) return []
  const contents = readContent(message['content'])
  const text = contents.filter(({ kind }) => kind === 'text').map((part) => part.text)
  return [
    ...(isDelta ? readThoughts(message, hasThoughts) : readWholeThoughts(message)),
    ...readText(text.join(''), choice['logprobs'], message['annotations']),
    ...(isText(message['refusal']) ? [{ kind: 'refusal' as const, text: message['refusal'] }] : []),
    ...listOf(message['tool_calls']).map((call, at) => readCall(call, isDelta ? null : at)),
  ]
}

/** What a message or delta says of the model's reasoning, in one of its forms; empty: nothing. */
export function thoughtsOf(choice: JsonObject): string {
  const message = choice['delta'] ?? choice['message']
  if (!isObject(message)) return ''
  // DeepSeek's word, OpenRouter's, and Mistral's list.
  const said = [message['reasoning_content'], message['reasoning']].find(isText)
  const parts = readContent(message['content']).filter(({ kind }) => kind === 'reasoning')
  return said ?? parts.map(({ text }) => text).join('')
}

/**
 * `thinking_blocks` are LiteLLM's word for what Claude has signed. LiteLLM sends them piece by piece beside the same text as
 * `reasoning_content`, others whole when that is complete.
 */
function readThoughts(delta: JsonObject, hasThoughts: boolean): Piece[] {
  const text = thoughtsOf({ delta })
  const said: Piece[] = text === '' ? [] : [{ kind: 'reasoning', text, signature: '' }]
  const blocks = listOf(delta['thinking_blocks']).flatMap(readThinkingBlock)
  const isSaid = hasThoughts || text !== ''
  const added = blocks.map((block) => (isSaid && block.kind === 'reasoning' ? { ...block, text: '' } : block))
  return [
    ...said,
    ...added.filter((piece) => piece.kind !== 'reasoning' || piece.text + piece.signature !== ''),
  ]
}

/** The blocks of a whole message have all the text, each its own. */
function readWholeThoughts(message: JsonObject): Piece[] {
  const blocks = listOf(message['thinking_blocks']).flatMap(readThinkingBlock)
  if (blocks.some(({ kind }) => kind === 'reasoning')) return blocks
  return [...readThoughts({ ...message, thinking_blocks: [] }, false), ...blocks]
}

function readThinkingBlock({ type, thinking, signature, data }: JsonObject): Piece[] {
  if (type === 'redacted_thinking') return isText(data) ? [{ kind: 'redacted', text: data }] : []
  const text = isText(thinking) ? thinking : ''
  const signed = isText(signature) ? signature : ''
  return text || signed ? [{ kind: 'reasoning', text, signature: signed }] : []
}

type ContentPart = { kind: 'text' | 'reasoning'; text: string }

/** Mistral tells content as a list of parts, among them what its model thought. */
function readContent(content: unknown): ContentPart[] {
  if (isText(content)) return [{ kind: 'text', text: content }]
  return listOf(content).flatMap<ContentPart>(({ type, text, thinking }) => {
    if (type === 'thinking') {
      const thoughts = isText(thinking) ? [thinking] : listOf(thinking).map((part) => part['text'])
      return [{ kind: 'reasoning', text: thoughts.filter(isText).join('') }]
    }
    return isText(text) ? [{ kind: 'text', text }] : []
  })
}

function readText(text: string, logprobs: unknown, annotations: unknown): Piece[] {
  const notes = listOf(annotations)
  if (text === '' && notes.length === 0) return []
  const tokens = isObject(logprobs) ? listOf(logprobs['content']) : []
  return [{ kind: 'text', text, logprobs: tokens, annotations: notes }]
}

function readCall(call: JsonObject, at: number | null): Piece {
  const { id, index } = call
  const called = isObject(call['function']) ? call['function'] : {}
  const { name, arguments: text } = called
  return {
    kind: 'call',
    // Some servers send the arguments as the object itself.
    text: isObject(text) ? JSON.stringify(text) : isText(text) ? text : '',
    index: typeof index === 'number' ? index : at,
    id: isText(id) ? id : '',
    name: isText(name) ? name : '',
    signature: signatureOfCall(call),
  }
}
