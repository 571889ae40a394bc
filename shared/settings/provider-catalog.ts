import type { EndpointName } from '../jobs/endpoints.ts'
import { PROVIDER_ROWS, type ProviderRow } from './provider-rows.ts'

/** Whose wire form a provider speaks; `unserved` is none that this version knows. */
export type ProviderFamily = 'openai' | 'azure' | 'anthropic' | 'gemini' | 'vertex' | 'bedrock' | 'unserved'

/** Fields that make one credential together; those of `with` may stand beside them, and nowhere else. */
export type CredentialSet = { fields: readonly string[]; with?: readonly string[] }

/** What the gateway knows of one provider. Names of fields are LiteLLM's. */
export type ProviderEntry = {
  name: string
  family: ProviderFamily
  /** What it can be asked for, by itself or by translation. */
  endpoints: readonly EndpointName[]
  /** Those that its API has itself: requests and answers of these pass as they are. */
  native: readonly EndpointName[]
  /** What it can be called with, the usual way first: each is a whole credential. */
  credentials: readonly CredentialSet[]
  /** Regions, projects and accounts it is called with; no credential by themselves. */
  places: readonly string[]
  /** Those of them that no call can go without. */
  needs: readonly string[]
  /** Credentials and places besides `api_key` and `azure_ad_token`: what a bundle's `auth` may hold. */
  authFields: readonly string[]
  /** Absolute base without trailing slash; null when it has none that is the same for everybody. */
  defaultBase: string | null
  /** The base that one of its places makes; null from `make` when the text is no such place. */
  placeBase: { field: string; make: (place: string) => string | null } | null
  /** The place is a customer's own host: a key never goes to another customer's. */
  isPlacePrivate: boolean
  /** What a base that is only an origin is completed with: `/v1` where LiteLLM's users give none. */
  basePath: string | null
  /** Servers that run without a key, which only an explicit base can reach. */
  isKeyOptional: boolean
  /** Environment variables that hold an operator's key or base, first one set wins. Never read for clients. */
  keyVariables: readonly string[]
  baseVariables: readonly string[]
  /** The same of the fields of `auth` and of `azure_ad_token`. */
  authVariables: Readonly<Record<string, readonly string[]>>
  /** Of one that is not served: what can be done. */
  advice: string | null
}

/** Used for Azure when no `api_version` is given, as LiteLLM does. */
export const AZURE_API_VERSION = '2025-02-01-preview'

/** Asked of a provider without them by way of a chat completion. */
const BY_CHAT: readonly EndpointName[] = ['responses', 'messages']
const BEARER: ProviderEntry['credentials'] = [{ fields: ['api_key'] }]
/** Fields of a bundle itself; all others stand in its `auth`. */
const OF_BUNDLE: ReadonlySet<string> = new Set(['api_key', 'azure_ad_token'])

const CATALOG: ReadonlyMap<string, ProviderEntry> = new Map(
  PROVIDER_ROWS.map((row) => [row.name, entryOf(row)]),
)

function entryOf(row: ProviderRow): ProviderEntry {
  const { native, credentials = BEARER, places = [] } = row
  const fields = credentials.flatMap((set) => [...set.fields, ...(set.with ?? [])])
  return {
    family: 'openai',
    needs: [],
    defaultBase: null,
    placeBase: null,
    isPlacePrivate: false,
    basePath: null,
    isKeyOptional: false,
    keyVariables: [],
    baseVariables: [],
    authVariables: {},
    advice: null,
    ...row,
    endpoints: native.includes('chat') ? [...new Set([...native, ...BY_CHAT])] : native,
    credentials,
    places,
    authFields: [...fields.filter((name) => !OF_BUNDLE.has(name)), ...places],
  }
}

/** Every provider that is known, in the order of the docs. */
export function allProviders(): ProviderEntry[] {
  return [...CATALOG.values()]
}

/** Why a provider can't be called, after its name. */
export function unservedReason({ name, advice }: ProviderEntry): string {
  return `provider "${name}", which this gateway does not serve.${advice === null ? '' : ` ${advice}`}`
}

/** A provider by its LiteLLM name. */
export function findProvider(name: string): ProviderEntry | null {
  return CATALOG.get(name) ?? null
}

/** Names of all providers this version can call. */
export function servedProviders(): string[] {
  return [...CATALOG.values()].filter(({ family }) => family !== 'unserved').map(({ name }) => name)
}

export type ResolvedModel =
  | { kind: 'resolved'; provider: ProviderEntry; model: string }
  | { kind: 'unresolved'; reason: string }

/**
 * Provider and upstream model of a `litellm_params.model`: its known prefix, else `openai`, or `azure` when an
 * `api_version` is given. Nothing is guessed from a base: guessing sends keys to strangers.
 */
export function resolveModel(
  written: string,
  hints: { customProvider?: string | undefined; apiVersion?: unknown } = {},
): ResolvedModel {
  const slash = written.indexOf('/')
  const prefix = slash === -1 ? null : written.slice(0, slash)
  if (hints.customProvider !== undefined) {
    const forced = findProvider(hints.customProvider)
    if (!forced)
      return { kind: 'unresolved', reason: `names the unknown provider "${hints.customProvider}".` }
    return named(forced, prefix === forced.name ? written.slice(slash + 1) : written)
  }
  if (prefix === null) {
    const provider = findProvider(hints.apiVersion === undefined ? 'openai' : 'azure')
    return provider ? named(provider, written) : { kind: 'unresolved', reason: 'has no provider.' }
  }
  const provider = findProvider(prefix)
  if (provider) return named(provider, written.slice(slash + 1))
  const reason = `starts with "${prefix.slice(0, 40)}/", which is no known provider. Write provider/model; for a server that speaks OpenAI's API, openai/model with its api_base.`
  return { kind: 'unresolved', reason }
}

function named(provider: ProviderEntry, model: string): ResolvedModel {
  if (model === '') return { kind: 'unresolved', reason: 'has no model after its provider.' }
  return { kind: 'resolved', provider, model: upstreamModel(provider, model) }
}

/** What a provider itself calls a model that is written in LiteLLM's way. */
function upstreamModel({ name, family }: ProviderEntry, model: string): string {
  if (name === 'fireworks_ai') {
    return model.startsWith('accounts/') || model.includes('#') ? model : `accounts/fireworks/models/${model}`
  }
  // LiteLLM's routes: which of Bedrock's APIs, or which rules for parameters. Here there is one.
  if (family === 'bedrock') return model.replace(/^(?:converse|invoke)\//, '')
  if (family === 'azure') return model.replace(/^(?:o_series|gpt5_series)\//, '')
  if (name === 'huggingface') {
    const [, host, owner, rest] = /^([^/]+)\/([^/]+)\/([^/]+)$/.exec(model) ?? []
    return host === undefined ? model : `${owner}/${rest}:${host}`
  }
  return model
}
