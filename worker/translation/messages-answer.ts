import { isObject } from '../providers/error-body.ts'
import { signCallId } from './call-ids.ts'
import { createChatAnswer, type ChatAnswer, type ChatUsage } from './chat-answer.ts'
import type { Block } from './chat-blocks.ts'
import { parseJsonLossless } from '../../shared/lossless-json.ts'

type JsonObject = Record<string, unknown>

/** A whole chat completion as a Message. */
export function answerMessage(completion: JsonObject, request: JsonObject): JsonObject {
  const chat = createChatAnswer()
  chat.add(completion)
  chat.end()
  return tellMessage(chat.read(), request, true)
}

/**
 * What a chat completion has said as a Message. Reasoning without a signature has an empty one; a refusal is text.
 * @param isEnded Its last piece has come: it has a reason for having stopped.
 * @see https://docs.anthropic.com/en/api/messages
 */
export function tellMessage(answer: ChatAnswer, request: JsonObject, isEnded: boolean): JsonObject {
  return {
    id: `msg_${answer.idStem}`,
    type: 'message',
    role: 'assistant',
    model: answer.model ?? request['model'] ?? null,
    content: answer.blocks.map((block, at) => tellBlock(block, answer.idStem, at)),
    ...(isEnded ? tellStop(answer, request) : NOT_STOPPED),
    container: null,
    diagnostics: null,
    usage: tellUsage(isEnded ? answer.usage : null),
  }
}

const NOT_STOPPED = { stop_reason: null, stop_sequence: null, stop_details: null }

/** Why an answer stopped, in the three fields that say so. */
export function tellStop(answer: ChatAnswer, request: JsonObject): JsonObject {
  const { blocks, finishReason, stopText } = answer
  const refusal = blocks.find(({ kind }) => kind === 'refusal')
  if (finishReason === 'content_filter' || refusal) {
    const stop_details = { type: 'refusal', category: null, explanation: refusal?.text ?? null }
    return { ...NOT_STOPPED, stop_reason: 'refusal', stop_details }
  }
  const sequences: unknown = request['stop_sequences']
  const isSequence = finishReason === 'stop' && Array.isArray(sequences) && sequences.includes(stopText)
  if (isSequence) return { ...NOT_STOPPED, stop_reason: 'stop_sequence', stop_sequence: stopText }
  if (finishReason === 'length') return { ...NOT_STOPPED, stop_reason: 'max_tokens' }
  // Some servers say `stop` where calls are to be answered.
  const hasCalls = blocks.some(({ kind }) => kind === 'call')
  return { ...NOT_STOPPED, stop_reason: hasCalls ? 'tool_use' : 'end_turn' }
}

/** Anthropic counts what was read from and written to a cache apart from the rest of the input. */
export function tellUsage(usage: ChatUsage | null): JsonObject {
  const { input, cached, cacheWritten, output, reasoning } = usage ?? NO_USAGE
  return {
    input_tokens: Math.max(0, input - cached - cacheWritten),
    cache_creation_input_tokens: cacheWritten,
    cache_read_input_tokens: cached,
    output_tokens: output,
    output_tokens_details: reasoning === null ? null : { thinking_tokens: reasoning },
    server_tool_use: null,
  }
}

const NO_USAGE: ChatUsage = { input: 0, cached: 0, cacheWritten: 0, output: 0, reasoning: null, total: 0 }

/** A block as it stands in a message's content. */
function tellBlock(block: Block, idStem: string, at: number): JsonObject {
  const { kind, text, signature } = block
  if (kind === 'reasoning') return { type: 'thinking', thinking: text, signature }
  if (kind === 'call') return { ...tellNewBlock(block, idStem, at), input: readArguments(text) }
  if (kind === 'redacted') return tellNewBlock(block, idStem, at)
  return { type: 'text', text, citations: null }
}

/** A block as it is when it begins. */
export function tellNewBlock(
  { kind, text, id, name, signature }: Block,
  idStem: string,
  at: number,
): JsonObject {
  if (kind === 'reasoning') return { type: 'thinking', thinking: '', signature: '' }
  // It comes in one piece.
  if (kind === 'redacted') return { type: 'redacted_thinking', data: text }
  if (kind === 'call') {
    return {
      type: 'tool_use',
      id: signCallId(id || `toolu_${idStem}_${at}`, signature),
      name,
      input: {},
      caller: { type: 'direct' },
    }
  }
  return { type: 'text', text: '', citations: null }
}

/** A tool's input is an object; of arguments that a limit cut, or that are none, nothing can be told. */
function readArguments(text: string): JsonObject {
  try {
    const parsed = parseJsonLossless(text)
    return isObject(parsed) ? parsed : {}
  } catch {
    return {}
  }
}
