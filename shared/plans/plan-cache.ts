import { bareKey } from '../settings/connection.ts'
import type { Notes } from '../settings/notes.ts'
import { isObject } from '../settings/notes.ts'
import type { CredentialBundle, Plan } from '../schemas/plan.ts'

/** What is remembered of one resolved `user_config`: no key, no header, and body parameters of a single value each. */
type Remembered = {
  plan: Plan
  bundles: CredentialBundle[]
  /** For each bundle the entry of `model_list` its key stands in. */
  sources: number[]
  notes: Notes
  /** Its length as JSON. */
  characters: number
}

export type MadePlan = { plan: Plan; bundles: CredentialBundle[] }

const DEPLOYMENTS_MAX = 20
/** Longest config that is remembered, and what is remembered of all of them together, in characters of JSON. */
const CONFIG_CHARACTERS_MAX = 16 * 1024
const CHARACTERS_MAX = 16 * 1024 * 1024

/**
 * Remembers the plans of configs that come again with every request of a customer, so that they are checked once.
 * Entries are found by a keyed HMAC over tenant, customer, model and the config's text, and hold no credential: keys are
 * read from the request that comes, which has the same text, and a plan with anything else that may carry one is not
 * remembered. The least recently used entry goes first.
 */
export function createPlanCache({ entriesMax = 1000, charactersMax = CHARACTERS_MAX } = {}) {
  const entries = new Map<string, Remembered>()
  let characters = 0

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

  /**
   * Remembers a plan, unless it is large, or something in it may be a secret that is not read back from the request.
   * @param configCharacters Length of the config as JSON.
   */
  function remember(
    key: string,
    { made, sources, notes }: { made: MadePlan; sources: number[]; notes: Notes },
    configCharacters: number,
  ): void {
    if (configCharacters > CONFIG_CHARACTERS_MAX || made.bundles.length > DEPLOYMENTS_MAX) return
    if (!made.bundles.every((bundle) => isPlain(bundle))) return
    const kept = {
      plan: { ...made.plan },
      bundles: made.bundles.map((bundle) => ({ ...bundle, api_key: null, azure_ad_token: null })),
      sources,
      notes: { warnings: [...notes.warnings] },
    }
    drop(key)
    const entry = { ...kept, characters: JSON.stringify(kept).length }
    entries.set(key, entry)
    characters += entry.characters
    for (const oldest of entries.keys()) {
      if (entries.size <= entriesMax && characters <= charactersMax) break
      drop(oldest)
    }
  }

  function drop(key: string): void {
    characters -= entries.get(key)?.characters ?? 0
    entries.delete(key)
  }

  return { recall, remember }
}

export type PlanCache = ReturnType<typeof createPlanCache>

/** Whether nothing but its key is secret: a list or object (`tools` of an MCP server, say) may carry anything. */
function isPlain({ headers, params, auth }: CredentialBundle): boolean {
  const values = Object.values(params)
  return (
    auth === undefined &&
    Object.keys(headers).length === 0 &&
    values.every((value) => typeof value !== 'object')
  )
}

function withSecrets(bundle: CredentialBundle, item: unknown): CredentialBundle {
  const params = isObject(item) && isObject(item['litellm_params']) ? item['litellm_params'] : {}
  const { api_key: apiKey, azure_ad_token: azureAdToken } = params
  return {
    ...bundle,
    api_key: typeof apiKey === 'string' ? bareKey(apiKey, { name: bundle.provider }) : bundle.api_key,
    azure_ad_token: typeof azureAdToken === 'string' ? azureAdToken : bundle.azure_ad_token,
  }
}
