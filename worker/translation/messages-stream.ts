import type { SseEvent } from '../../shared/sse.ts'
import { createChatAnswer } from './chat-answer.ts'
import type { Block, BlockEvent } from './chat-blocks.ts'
import { tellMessage, tellNewBlock, tellStop, tellUsage } from './messages-answer.ts'
import type { StreamTranslation } from './translation.ts'

type JsonObject = Record<string, unknown>

/**
 * The events of a Message: `message_start`, then each block with its deltas from its start to its stop, then `message_delta`
 * with the reason it stopped and the usage, and `message_stop`.
 *
 * @see https://docs.anthropic.com/en/docs/build-with-claude/streaming
 */
export function streamMessage(request: JsonObject): StreamTranslation {
  const chat = createChatAnswer()
  let hasBegun = false
  let isEnded = false
  let blocks = 0
  let idStem = ''

  const whole = () => tellMessage(chat.read(), request, isEnded)

  function begin(): JsonObject[] {
    if (hasBegun) return []
    hasBegun = true
    idStem = chat.read().idStem
    // What the first chunk brought is told by the events after this one.
    return [{ type: 'message_start', message: { ...whole(), content: [] } }]
  }

  function tell(event: BlockEvent): JsonObject[] {
    if (event.kind === 'open') {
      const content_block = tellNewBlock(event.block, idStem, blocks)
      blocks += 1
      return [{ type: 'content_block_start', index: blocks - 1, content_block }]
    }
    const index = blocks - 1
    if (event.kind === 'grow') {
      return deltasOf(event.block.kind, event.text).map((delta) => toDelta(index, delta))
    }
    return stopOf(index, event.block)
  }

  return {
    chunk(chunk) {
      const told = chat.add(chunk)
      if (!chat.hasBegun()) return []
      return [...begin(), ...told.flatMap(tell)].map(toSse)
    },
    end() {
      const first = begin()
      const told = chat.end().flatMap(tell)
      isEnded = true
      const answer = chat.read()
      const delta = { ...tellStop(answer, request), container: null }
      const last = { type: 'message_delta', delta, usage: tellUsage(answer.usage) }
      return [...first, ...told, last, { type: 'message_stop' }].map(toSse)
    },
    answer: whole,
  }
}

function stopOf(index: number, { kind, signature }: Block): JsonObject[] {
  const isSigned = kind === 'reasoning' && signature !== ''
  const signed = isSigned ? [toDelta(index, { type: 'signature_delta', signature })] : []
  return [...signed, { type: 'content_block_stop', index }]
}

function deltasOf(kind: Block['kind'], text: string): JsonObject[] {
  if (text === '' || kind === 'redacted') return []
  if (kind === 'reasoning') return [{ type: 'thinking_delta', thinking: text }]
  if (kind === 'call') return [{ type: 'input_json_delta', partial_json: text }]
  return [{ type: 'text_delta', text }]
}

function toDelta(index: number, delta: JsonObject): JsonObject {
  return { type: 'content_block_delta', index, delta }
}

function toSse(event: JsonObject): SseEvent {
  return { event: String(event['type']), data: JSON.stringify(event) }
}
