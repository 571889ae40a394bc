import type { Notes } from './notes.ts'
import { isObject } from './notes.ts'
import type { CredentialBundle, Plan } from './schemas/plan.ts'

/** What is remembered of one resolved `user_config`: no key, no header, no `extra_body`. */
type Remembered = {
  plan: Plan
  bundles: CredentialBundle[]
  /** For each bundle the entry of `model_list` its key stands in. */
  sources: number[]
  notes: Notes
}

export type MadePlan = { plan: Plan; bundles: CredentialBundle[] }

const DEPLOYMENTS_MAX = 20

/**
 * Remembers the plans of configs that come again with every request of a customer, so that they are checked once.
 * Entries are found by a keyed HMAC over tenant, customer, model and the config's text, and hold no secret: keys are
 * read from the request that comes, which has the same text. The least recently used entry goes first.
 */
export function createPlanCache(entriesMax = 1000) {
  const entries = new Map<string, Remembered>()

  /** The plan under this key with the keys of `config`, or null when it is not remembered. */
  function recall(key: string, config: unknown): (MadePlan & { notes: Notes }) | null {
    const known = entries.get(key)
    if (!known) return null
    entries.delete(key)
    entries.set(key, known)
    const list = isObject(config) && Array.isArray(config['model_list']) ? config['model_list'] : []
    const bundles = known.bundles.map((bundle, index) =>
      withSecrets(bundle, list[known.sources[index] ?? -1]),
    )
    return { plan: { ...known.plan }, bundles, notes: known.notes }
  }

  /** Remembers a plan, unless something in it may be a secret that is not read back from the request. */
  function remember(key: string, made: MadePlan, sources: number[], notes: Notes): void {
    const isPlain = made.bundles.every(({ headers }) => Object.keys(headers).length === 0)
    if (!isPlain || made.bundles.length > DEPLOYMENTS_MAX) return
    const bundles = made.bundles.map((bundle) => ({ ...bundle, api_key: null, azure_ad_token: null }))
    const warnings = [...notes.warnings]
    entries.set(key, {
      plan: { ...made.plan },
      bundles,
      sources,
      notes: { warnings, notYetActive: [...notes.notYetActive] },
    })
    const oldest = entries.size > entriesMax ? entries.keys().next().value : undefined
    if (oldest !== undefined) entries.delete(oldest)
  }

  return { recall, remember }
}

export type PlanCache = ReturnType<typeof createPlanCache>

function withSecrets(bundle: CredentialBundle, item: unknown): CredentialBundle {
  const params = isObject(item) && isObject(item['litellm_params']) ? item['litellm_params'] : {}
  const { api_key: apiKey, azure_ad_token: azureAdToken } = params
  return {
    ...bundle,
    api_key: typeof apiKey === 'string' ? apiKey : bundle.api_key,
    azure_ad_token: typeof azureAdToken === 'string' ? azureAdToken : bundle.azure_ad_token,
  }
}
