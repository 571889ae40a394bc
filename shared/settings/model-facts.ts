import type { Deployment } from './deployments.ts'
import { modelData } from '../routing/prices.ts'
import { usualBase } from './provider-auth.ts'
import { findProvider, resolveModel } from './provider-catalog.ts'
import type { CredentialBundle, PlanDeployment, Prices } from '../schemas/plan.ts'
import type { UserDeployment } from '../schemas/user-config.ts'

/** What a config itself says of a deployment's model; it wins over the table. */
export type OwnFacts = {
  /** The model whose price and window hold, where the name of the deployment says nothing. */
  baseModel: string | null
  maxInputTokens: number | null
  /** Null: no price is given. */
  prices: Prices | null
}

/** Reads prices and window of a list entry, from `litellm_params` and `model_info`. */
export function readOwnFacts({ litellm_params: params, model_info: info }: UserDeployment): OwnFacts {
  const price = (name: PriceName) => params[name] ?? info?.[name]
  const [perInputSecond, perOutputSecond] = [price('input_cost_per_second'), price('output_cost_per_second')]
  const prices: Prices = {}
  const [input, output] = [price('input_cost_per_token'), price('output_cost_per_token')]
  const cached = price('cache_read_input_token_cost')
  if (input !== undefined) prices.input = input
  if (output !== undefined) prices.output = output
  if (cached !== undefined) prices.cached_input = cached
  if (perInputSecond !== undefined || perOutputSecond !== undefined) {
    prices.per_second = (perInputSecond ?? 0) + (perOutputSecond ?? 0)
  }
  return {
    baseModel: info?.base_model ?? null,
    maxInputTokens: info?.max_input_tokens ?? info?.max_tokens ?? null,
    prices: Object.keys(prices).length > 0 ? prices : null,
  }
}

type PriceName =
  | 'input_cost_per_token'
  | 'output_cost_per_token'
  | 'cache_read_input_token_cost'
  | 'input_cost_per_second'
  | 'output_cost_per_second'

/**
 * Price and window of a deployment: the config's own, and the table's for what it leaves out. The table holds what providers
 * ask at their own address: with another base the same name may be somebody's vLLM, so that nothing is known unless a
 * `base_model` says it.
 */
export function modelFacts(
  { own }: Deployment,
  bundle: CredentialBundle,
): Pick<PlanDeployment, 'max_input_tokens' | 'prices'> {
  const known = lookUp(own.baseModel, bundle)
  const facts: Pick<PlanDeployment, 'max_input_tokens' | 'prices'> = {}
  const window = own.maxInputTokens ?? known?.max_input_tokens
  const prices = mergePrices(own.prices, known?.prices)
  if (window !== undefined) facts.max_input_tokens = window
  if (prices !== undefined) facts.prices = prices
  return facts
}

/** The config's own prices win, each by itself: whoever sets that of input alone still pays the usual one for output. */
function mergePrices(own: Prices | null, known: Prices | undefined): Prices | undefined {
  if (own === null || known === undefined) return own ?? known
  // Billed by time instead.
  if (own.per_second !== undefined && own.input === undefined && own.output === undefined) return own
  const merged: Prices = { ...known, ...own }
  // The table's belong to its price of input: beside another one they would be wrong.
  if (own.input !== undefined && own.cached_input === undefined) delete merged.cached_input
  if (own.input !== undefined && own.output !== undefined) delete merged.input_tokens_max
  return merged
}

function lookUp(baseModel: string | null, { provider, model, api_base: base, auth }: CredentialBundle) {
  if (baseModel !== null) {
    const resolved = resolveModel(baseModel, { customProvider: undefined, apiVersion: undefined })
    const isNamed = baseModel.includes('/') && resolved.kind !== 'unresolved'
    if (isNamed) return modelData(resolved.provider.name, resolved.model)
    return modelData(provider, baseModel) ?? modelData('openai', baseModel)
  }
  const entry = findProvider(provider)
  const isOwnAddress = base === null || (entry !== null && base === usualBase(entry, auth))
  return isOwnAddress || provider === 'azure' ? modelData(provider, model) : null
}
