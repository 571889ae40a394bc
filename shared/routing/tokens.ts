import type { Tokens } from './deployment-state.ts'

// What an image or file costs depends on the model; providers ask for some hundreds to some thousands.
const TOKENS_PER_DATA_URL = 1_000
// No model has such a window: more is a client's fancy, and Redis keeps whole numbers to 2^53 only.
const TOKENS_MAX = 10_000_000
// English runs at about four bytes a token, Chinese at about three bytes a character and token.
const BYTES_PER_TOKEN = 4
// OpenAI's own upper bound of `n`.
const CHOICES_MAX = 128

/**
 * Estimates what a request will use: its text, and the most it may be answered with; whole numbers, up to 10,000,000
 * together. Settled with the provider's own count afterwards, so it only has to be near and quick: an exact tokenizer is
 * quadratic on repeated characters, which a client could send on purpose (decision record 0011).
 */
export function estimateTokens(body: Record<string, unknown>): Tokens {
  const asked = body['max_completion_tokens'] ?? body['max_output_tokens'] ?? body['max_tokens']
  const answer = typeof asked === 'number' && asked > 0 ? Math.ceil(asked) * countChoices(body['n']) : 0
  const prompt = PROMPT_FIELDS.reduce((sum, name) => sum + countTokens(body[name]), 0)
  const input = Math.min(Math.max(1, prompt), TOKENS_MAX)
  return { input, output: Math.min(answer, TOKENS_MAX - input) }
}

/** Where the requests of all endpoints have what a model reads. */
const PROMPT_FIELDS = ['messages', 'input', 'prompt', 'system', 'instructions', 'tools']

/** How many answers are asked for: each may be as long as the limit says. A number no provider takes counts as one. */
export function countChoices(asked: unknown): number {
  const isTaken = typeof asked === 'number' && Number.isInteger(asked) && asked >= 1 && asked <= CHOICES_MAX
  return isTaken ? asked : 1
}

/** Tokens in all the strings of a value; a data URL counts as a picture, not as its text. A list of numbers is tokens already. */
export function countTokens(value: unknown): number {
  if (typeof value === 'string') {
    return value.startsWith('data:')
      ? TOKENS_PER_DATA_URL
      : Math.ceil(Buffer.byteLength(value) / BYTES_PER_TOKEN)
  }
  if (typeof value !== 'object' || value === null) return 0
  if (Array.isArray(value) && typeof value[0] === 'number') return value.length
  return Object.values(value).reduce((sum: number, item: unknown) => sum + countTokens(item), 0)
}
