import { estimateTokenCount } from 'tokenx'

// What an image or file costs depends on the model; providers ask for some hundreds to some thousands.
const TOKENS_PER_DATA_URL = 1_000

/**
 * Estimates what a request will use of a `tpm` limit: its text, and the most it may answer. Settled with the provider's
 * own count afterwards. An exact tokenizer is quadratic on repeated characters, which a client could send on purpose.
 */
export function estimateTokens(body: Record<string, unknown>): number {
  const answerMax = body.max_completion_tokens ?? body.max_tokens
  const input = countText(body.messages) + countText(body.tools)
  return Math.max(1, input + (typeof answerMax === 'number' && answerMax > 0 ? Math.ceil(answerMax) : 0))
}

function countText(value: unknown): number {
  if (typeof value === 'string') {
    return value.startsWith('data:') ? TOKENS_PER_DATA_URL : estimateTokenCount(value)
  }
  if (typeof value !== 'object' || value === null) return 0
  return Object.values(value).reduce((sum: number, item: unknown) => sum + countText(item), 0)
}
