import type { EndpointName } from './endpoints.ts'
import type { Tokens } from '../routing/deployment-state.ts'
import type { Plan, Prices } from '../schemas/plan.ts'
import { countChoices, estimateTokens } from '../routing/tokens.ts'

/** Tokens of an answer whose request names no limit: what is held for it. Few answers are longer. */
const OUTPUT_TOKENS_ASSUMED = 4_096
/** The same for the room that is kept for its bytes: most answers are much shorter, and room is given back only at the end. */
const OUTPUT_TOKENS_USUAL = 1_024
/** Seconds of a call whose price goes by time. */
const SECONDS_ASSUMED = 60
const MICRO = 1_000_000
/** More than any call costs, and still a whole number to Lua when many are added up. */
const MICRO_USD_MAX = 1e12

const RESULT_BYTES_MIN = 4 * 1024
const RESULT_BYTES_MAX = 256 * 1024
/** What an answer has beside its text: ids, usage, what the seal adds. */
const ENVELOPE_BYTES = 2 * 1024
const BYTES_PER_TOKEN = 6
/** A stream is kept as the provider's events until its end: most of each is not text. */
const STREAM_BYTES_PER_TOKEN = 64
/** 1,536 numbers as JSON. */
const VECTOR_BYTES = 32 * 1024

/** A call of an endpoint, as far as its cost and the size of its answer hang on it. */
export type AskedCall = { endpoint: EndpointName; body: Record<string, unknown> }

/**
 * What a call may cost at most, as far as can be told before it is made: one call of the dearest deployment of its plan, in
 * millionths of a dollar. 0 when no price is known. Retries of calls that were billed come on top.
 * @param tokensOf What is known of the request's tokens; they are only counted where there is a price.
 */
export function holdOf(
  { deployments }: Plan,
  { endpoint, body }: AskedCall,
  tokensOf: () => Tokens = () => estimateTokens(body),
): number {
  const prices = deployments.flatMap(({ prices: known }) => known ?? [])
  if (prices.length === 0) return 0
  const { input, output } = tokensOf()
  const answered = hasNoText(endpoint) ? 0 : output || OUTPUT_TOKENS_ASSUMED * countChoices(body['n'])
  const usd = prices.reduce((most, each) => Math.max(most, costAtMost(each, input, answered)), 0)
  return Math.min(Math.ceil(usd * MICRO), MICRO_USD_MAX)
}

function costAtMost(
  { input = 0, output = 0, per_second: perSecond = 0 }: Prices,
  asked: number,
  answered: number,
) {
  return asked * input + answered * output + perSecond * SECONDS_ASSUMED
}

/**
 * What the answer of a call may take in Redis: by the most tokens it may have, between 4 and 256 KiB. Less would let a queue
 * of long answers fill Redis unforeseen, more would close the door for answers that hardly ever come.
 */
export function resultBytesOf({ endpoint, body }: AskedCall): number {
  // Whole bytes: a client may ask for half a token.
  const bytes = Math.ceil(ENVELOPE_BYTES + bytesOf({ endpoint, body }))
  return Math.min(Math.max(bytes, RESULT_BYTES_MIN), RESULT_BYTES_MAX)
}

function bytesOf({ endpoint, body }: AskedCall): number {
  if (endpoint === 'embeddings') return VECTOR_BYTES * inputsOf(body['input'])
  if (hasNoText(endpoint)) return 0
  const perToken = body['stream'] === true ? STREAM_BYTES_PER_TOKEN : BYTES_PER_TOKEN
  const limit = limitOf(body) ?? OUTPUT_TOKENS_USUAL
  return limit * countChoices(body['n']) * perToken
}

function limitOf(body: Record<string, unknown>): number | null {
  const limit = body['max_completion_tokens'] ?? body['max_output_tokens'] ?? body['max_tokens']
  return typeof limit === 'number' && limit > 0 ? limit : null
}

// A list of numbers is one text, as tokens.
function inputsOf(input: unknown): number {
  return Array.isArray(input) && typeof input[0] !== 'number' ? input.length : 1
}

function hasNoText(endpoint: EndpointName): boolean {
  return endpoint === 'embeddings' || endpoint === 'moderations'
}
