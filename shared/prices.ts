import type { Prices } from './schemas/plan.ts'

/** What the vendored table knows of a provider's model, null when nothing. */
export function modelData(
  _provider: string,
  _model: string,
): { max_input_tokens?: number; prices?: Prices } | null {
  return null
}

type Billed = { input_tokens: number; output_tokens: number; cached_input_tokens: number }

/** Cost of one call in USD; null when what it depends on is not known. */
export function costOf(usage: Billed | null, prices: Prices | undefined, seconds: number): number | null {
  if (!prices) return null
  const time = prices.per_second === undefined ? null : prices.per_second * seconds
  if (usage === null || (prices.input === undefined && prices.output === undefined)) return time
  const cached = Math.min(usage.cached_input_tokens, usage.input_tokens)
  const input = prices.input ?? 0
  const tokens =
    (usage.input_tokens - cached) * input +
    cached * (prices.cached_input ?? input) +
    usage.output_tokens * (prices.output ?? 0)
  return tokens + (time ?? 0)
}
