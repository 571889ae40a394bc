import type { LanguageModelV4StreamPart, LanguageModelV4Usage } from '@ai-sdk/provider'
import { formatSse } from '../../../shared/sse.ts'
import type { StreamSink } from '../provider.ts'
import type { Collector } from './collect.ts'
import {
  specificFields,
  toImage,
  toThinkingBlock,
  toToolCall,
  toUsage,
  type AnswerHead,
} from './completion.ts'
import { signatureOf } from './part-options.ts'

type JsonObject = Record<string, unknown>

export type ChunkWriter = {
  /** Writes what a part says as a chunk; most say something, some nothing. */
  add: (part: LanguageModelV4StreamPart) => void
  /** The last chunk, the one with the usage where it is wanted, and the end. */
  finish: (reason: string, usage: LanguageModelV4Usage) => void
  /** Something has been written. */
  hasBegun: () => boolean
}

/**
 * Tells the parts of a stream as OpenAI's chunks. Nothing is written before a part that says something: until then an error can
 * be answered by another try.
 * @param head Asked for with the first chunk: by then the provider's own id is known.
 */
export function createChunkWriter(
  sink: StreamSink,
  head: () => AnswerHead,
  options: { includesUsage: boolean; collected: Collector },
): ChunkWriter {
  const calls = createCallIndex()
  let known: AnswerHead | null = null
  let images = 0

  function write(fields: JsonObject): void {
    const { id, created, model } = (known ??= head())
    const usage = options.includesUsage ? { usage: null } : {}
    const chunk = { id, object: 'chat.completion.chunk', created, model, ...usage, ...fields }
    sink.write(Buffer.from(formatSse({ data: JSON.stringify(chunk) })))
  }

  function writeDelta(delta: JsonObject, reason: string | null = null): void {
    if (!known) {
      const first = {
        role: 'assistant',
        content: typeof delta['content'] === 'string' ? '' : null,
        refusal: null,
      }
      write({ choices: [choice(first, null)] })
    }
    write({ choices: [choice(delta, reason)] })
  }

  function add(part: LanguageModelV4StreamPart): void {
    if (part.type === 'file') writeDelta({ images: [toImage(part, images++)] })
    const call = calls.deltaOf(part)
    if (call) writeDelta(head().isLegacy ? { function_call: call['function'] } : { tool_calls: [call] })
    const delta = textDelta(part) ?? signedDelta(part, options.collected)
    if (delta) writeDelta(delta)
  }

  return {
    add,
    finish(reason, usage) {
      writeDelta({}, reason)
      const told = options.includesUsage ? toUsage(usage) : null
      if (told) write({ choices: [], usage: told })
      sink.write(Buffer.from(formatSse({ data: '[DONE]' })))
    },
    hasBegun: () => known !== null,
  }
}

function textDelta(part: LanguageModelV4StreamPart): JsonObject | null {
  if (part.type === 'text-delta') return part.delta === '' ? null : { content: part.delta }
  if (part.type === 'reasoning-delta') return part.delta === '' ? null : { reasoning_content: part.delta }
  return null
}

/** What a block that has ended is signed with: only the whole of it can go back to the model. */
function signedDelta(part: LanguageModelV4StreamPart, collected: Collector): JsonObject | null {
  if (part.type === 'reasoning-end') {
    const block = collected.block('reasoning', part.id)
    const thinking = block && toThinkingBlock(block)
    return thinking && { thinking_blocks: [thinking] }
  }
  if (part.type !== 'text-end') return null
  const signature = signatureOf(collected.block('text', part.id)?.providerMetadata)
  return signature === null ? null : { provider_specific_fields: { thought_signatures: [signature] } }
}

function choice(delta: JsonObject, reason: string | null): JsonObject {
  return { index: 0, delta, logprobs: null, finish_reason: reason }
}

/** Tells the parts of calls by the index that OpenAI's chunks have for each. */
function createCallIndex() {
  const begun = new Map<string, { index: number; hasInput: boolean }>()
  function begin(id: string) {
    const call = { index: begun.size, hasInput: false }
    begun.set(id, call)
    return call
  }
  return {
    deltaOf(part: LanguageModelV4StreamPart): JsonObject | null {
      if (part.type === 'tool-input-start' && !part.providerExecuted) {
        const { index } = begin(part.id)
        const called = { name: part.toolName, arguments: '' }
        return {
          index,
          id: part.id,
          type: 'function',
          function: called,
          ...specificFields(signatureOf(part.providerMetadata)),
        }
      }
      if (part.type === 'tool-input-delta') {
        const call = begun.get(part.id)
        if (!call || part.delta === '') return null
        call.hasInput = true
        return { index: call.index, function: { arguments: part.delta } }
      }
      if (part.type !== 'tool-call' || part.providerExecuted) return null
      const call = begun.get(part.toolCallId)
      if (!call) return { index: begin(part.toolCallId).index, ...toToolCall(part) }
      // A call without arguments has no deltas, and clients parse what they have put together.
      return call.hasInput || part.input === ''
        ? null
        : { index: call.index, function: { arguments: part.input } }
    },
  }
}
