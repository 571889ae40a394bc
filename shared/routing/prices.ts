import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { Prices } from '../schemas/plan.ts'

/** What is known of a model: the size of its context window in tokens, and its prices. */
export type ModelData = { max_input_tokens?: number; prices?: Prices }

/** Tokens of one call, as `Usage` of a job. */
type Billed = {
  input_tokens: number
  output_tokens: number
  cached_input_tokens: number
  total_tokens?: number
}

/** Window in tokens; USD per million tokens of input, output and cached input; input tokens up to which these hold. */
const Row = z.array(z.number().nullable())
const Table = z.object({ models: z.record(z.string(), z.record(z.string(), Row)) })
type Models = ReadonlyMap<string, ReadonlyMap<string, z.infer<typeof Row>>>

/** Smallest part of a dollar that a cost shows; below it there is only the noise of binary fractions. */
const USD_DECIMALS = 12

// Snapshots that cost something else than their name without a date have a row of their own.
const SNAPSHOT = /-\d{4}-\d{2}-\d{2}$/
const SAME_MODELS: ReadonlyMap<string, string> = new Map([
  ['azure', 'openai'],
  ['vertex_ai_beta', 'vertex_ai'],
])

let loaded: Models | null = null

/**
 * What the vendored table knows of a provider's model, null when nothing: a name that is not in it is never guessed at.
 * Providers go by LiteLLM's names. For `azure` the name is OpenAI's (`model_info.base_model`): a deployment is called
 * as its owner likes. The prices are those of the provider's own address.
 * @see docs/decisions/0014-price-table.md
 */
export function modelData(provider: string, model: string): ModelData | null {
  const rows = (loaded ??= loadModels()).get(SAME_MODELS.get(provider) ?? provider)
  if (!rows) return null
  const bare = model.startsWith(`${provider}/`) ? model.slice(provider.length + 1) : model
  const names = [model, bare, ...otherNames(provider, bare)]
  const row = names.map((name) => rows.get(name)).find((found) => found !== undefined)
  return row ? readRow(row) : null
}

/**
 * Cost of one call in USD; null when what it depends on is not known.
 * @param seconds How long the call took, for prices by time.
 */
export function costOf(usage: Billed | null, prices: Prices | undefined, seconds: number): number | null {
  if (!prices) return null
  const hasTokenPrice = prices.input !== undefined || prices.output !== undefined
  const tokens = hasTokenPrice ? tokenCost(usage, prices) : 0
  if (tokens === null || (!hasTokenPrice && prices.per_second === undefined)) return null
  return roundUsd(tokens + (prices.per_second ?? 0) * seconds)
}

/** An amount without the noise of binary fractions. */
export function roundUsd(amount: number): number {
  return Number(amount.toFixed(USD_DECIMALS))
}

/** An amount as a plain decimal: `0.0000002`, never `2e-7`. */
export function formatUsd(amount: number): string {
  return amount.toFixed(USD_DECIMALS).replace(/\.?0+$/, '')
}

function tokenCost(usage: Billed | null, prices: Prices): number | null {
  if (!usage) return null
  const input = usage.input_tokens
  if (prices.input_tokens_max !== undefined && input > prices.input_tokens_max) return null
  // Some providers leave reasoning out of the output, but not out of the total; it costs as much as output.
  const output = Math.max(usage.output_tokens, (usage.total_tokens ?? 0) - input)
  // Only the total was told: how it is divided is not known.
  if (input === 0 && output > usage.output_tokens) return null
  const cached = Math.min(usage.cached_input_tokens, input)
  const parts = [
    priced(input - cached, prices.input),
    priced(cached, prices.cached_input ?? prices.input),
    priced(output, prices.output),
  ]
  return parts.reduce((sum, part) => (sum === null || part === null ? null : sum + part), 0)
}

function priced(tokens: number, price: number | undefined): number | null {
  if (tokens === 0) return 0
  return price === undefined ? null : tokens * price
}

/** Names under which a model may stand in the table instead. */
function otherNames(provider: string, model: string): string[] {
  if (provider === 'azure') {
    const name = model.replace(/^gpt-35-/, 'gpt-3.5-')
    return [name, name.replace(SNAPSHOT, '')]
  }
  if (provider === 'openai') return [model.replace(SNAPSHOT, '')]
  if (provider === 'xai') return [model.replace(/-latest$/, '')]
  if (provider === 'fireworks_ai') return [`accounts/fireworks/models/${model}`]
  return []
}

function readRow([window, input, output, cachedInput, inputMax]: z.infer<typeof Row>): ModelData {
  const data: ModelData = {}
  if (typeof window === 'number') data.max_input_tokens = window
  if (typeof input === 'number' && typeof output === 'number') {
    data.prices = { input: perToken(input), output: perToken(output) }
    if (typeof cachedInput === 'number') data.prices.cached_input = perToken(cachedInput)
    if (typeof inputMax === 'number') data.prices.input_tokens_max = inputMax
  }
  return data
}

// As the decimal that is written in price lists: 0.1 / 1e6 is not quite 1e-7.
function perToken(usdPerMillion: number): number {
  return Number(`${usdPerMillion}e-6`)
}

// Read when it is first asked for: a worker never does.
function loadModels(): Models {
  const text = readFileSync(new URL('model-data.json', import.meta.url), 'utf8')
  const { models } = Table.parse(JSON.parse(text))
  return new Map(Object.entries(models).map(([name, rows]) => [name, new Map(Object.entries(rows))]))
}
