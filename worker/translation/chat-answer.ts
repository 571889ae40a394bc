import { isObject } from '../providers/error-body.ts'
import { createBlocks, type Block, type BlockEvent } from './chat-blocks.ts'
import { readPieces, thoughtsOf } from './chat-pieces.ts'
import { isText, listOf } from './json-values.ts'

type JsonObject = Record<string, unknown>

/** What a chat completion has said so far, whole or in chunks. */
export type ChatAnswer = {
  /** What is left of the completion's id for ids of other forms: letters, digits, `_` and `-`. */
  idStem: string
  /** Unix seconds; 0 when the provider did not say. */
  createdAt: number
  /** Null: not said. */
  model: string | null
  serviceTier: string | null
  finishReason: string | null
  /** The stop sequence that was met, where a server tells it (vLLM and SGLang do). */
  stopText: string | null
  usage: ChatUsage | null
  blocks: readonly Block[]
}

/** Tokens; the input counts those read from and written to a cache too, the output those of reasoning. */
export type ChatUsage = {
  input: number
  cached: number
  cacheWritten: number
  output: number
  /** Null: not said. */
  reasoning: number | null
  total: number
}

/**
 * Reads the first choice of a chat completion: `add` takes its chunks, or it as a whole, and says what became of the
 * blocks of the answer. Both ways end with the same answer.
 */
export function createChatAnswer() {
  const blocks = createBlocks()
  // Azure opens a stream with a chunk that has neither choices nor an id: what comes with the first choice stands.
  let head: JsonObject = {}
  let hasBegun = false
  let hasThoughts = false
  let finishReason: string | null = null
  let stopText: string | null = null
  let usage: ChatUsage | null = null
  let model: string | null = null
  let serviceTier: string | null = null

  return {
    add(chunk: JsonObject): BlockEvent[] {
      if (!hasBegun) head = { ...head, ...chunk }
      if (isText(chunk['model'])) model ??= chunk['model']
      if (isText(chunk['service_tier'])) serviceTier = chunk['service_tier']
      if (isObject(chunk['usage'])) usage = readChatUsage(chunk['usage'])
      const choice = listOf(chunk['choices']).find(({ index }) => index === 0 || index === undefined)
      if (!choice) return []
      hasBegun = true
      if (isText(choice['finish_reason'])) finishReason = choice['finish_reason']
      const stop = choice['stop_reason'] ?? choice['matched_stop']
      if (isText(stop)) stopText = stop
      const pieces = readPieces(choice, hasThoughts)
      hasThoughts ||= thoughtsOf(choice) !== ''
      return blocks.add(pieces)
    },
    end: (): BlockEvent[] => blocks.end(finishReason === 'length'),
    /** A first choice has come, if only in part. */
    hasBegun: () => hasBegun,
    read(): ChatAnswer {
      const created = head['created']
      return {
        idStem: readIdStem(head['id']),
        createdAt: typeof created === 'number' ? Math.floor(created) : 0,
        model,
        serviceTier,
        finishReason,
        stopText,
        usage,
        blocks: blocks.list(),
      }
    },
  }
}

function readIdStem(id: unknown): string {
  const stem = isText(id) ? id.replace(/^chatcmpl-/, '').replaceAll(/[^\w-]/g, '') : ''
  return stem.slice(0, 64) || '0'
}

function readChatUsage(usage: JsonObject): ChatUsage {
  const { prompt_tokens_details: promptDetails, completion_tokens_details: completionDetails } = usage
  const prompt = isObject(promptDetails) ? promptDetails : {}
  const completion = isObject(completionDetails) ? completionDetails : {}
  const input = count(usage['prompt_tokens']) ?? 0
  const output = count(usage['completion_tokens']) ?? 0
  return {
    input,
    // DeepSeek tells its cache beside the input.
    cached: count(prompt['cached_tokens']) ?? count(usage['prompt_cache_hit_tokens']) ?? 0,
    cacheWritten: count(prompt['cache_write_tokens']) ?? count(usage['cache_creation_input_tokens']) ?? 0,
    output,
    reasoning: count(completion['reasoning_tokens']),
    total: count(usage['total_tokens']) ?? input + output,
  }
}

function count(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}
