import { readSecret, readText } from './credential-text.ts'
import { invalid } from './notes.ts'
import { allProviders, findProvider, type ProviderEntry } from './provider-catalog.ts'
import { LOCATION_FIELDS, PROVIDER_SECRETS } from '../schemas/field-names.ts'
import type { CredentialBundle } from '../schemas/plan.ts'
import { readServiceAccount, serviceAccountOf } from './service-account.ts'

/** Credentials and places of a bundle besides its key, by LiteLLM's names. */
export type Auth = Record<string, string>

/** Other names that LiteLLM has for a field. */
const ALIASES: Readonly<Record<string, readonly string[]>> = {
  vertex_credentials: ['vertex_ai_credentials'],
  vertex_project: ['vertex_ai_project'],
  vertex_location: ['vertex_ai_location'],
}

/** What a place looks like. Those that make a host are looked at once more when they do. */
const PLACES: Readonly<Record<string, RegExp>> = {
  account_id: /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/,
  aws_region_name: /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
  tenant_id: /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,126}[A-Za-z0-9])?$/,
  vertex_location: /^[a-z0-9](?:[a-z0-9-]{0,49}[a-z0-9])?$/,
  vertex_project: /^[a-z0-9][a-z0-9.:-]{0,98}$/,
}
/** Azure's own services, to which alone a token may be asked for. */
const SCOPE =
  /^https:\/\/(?:cognitiveservices\.azure\.(?:com|us|cn)|ai\.azure\.com|ml\.azure\.com)\/\.default$/

/** Every field that the `auth` of some provider holds. */
export const AUTH_FIELDS: readonly string[] = [
  ...new Set(allProviders().flatMap(({ authFields }) => authFields)),
]
const LOCATIONS: ReadonlySet<string> = new Set(LOCATION_FIELDS)

/** All names of a field of `auth`. */
export function namesOf(field: string): readonly string[] {
  return [field, ...(ALIASES[field] ?? [])]
}

/** Whether a field, by any of its names, is a region, project or account and no credential. */
export function isPlace(field: string): boolean {
  return namesOf(field).some((name) => LOCATIONS.has(name))
}

/**
 * Reads what of `names` is among the fields, each checked and in one form.
 * @throws {InvalidRequestError} with the field's path; a credential is never repeated.
 */
export function readAuth(fields: Record<string, unknown>, prefix: string, names: readonly string[]): Auth {
  const auth: Auth = {}
  for (const field of names) {
    for (const name of namesOf(field)) {
      const value = readField(fields, name, field, prefix)
      if (value === null) continue
      if (auth[field] !== undefined && auth[field] !== value) {
        throw invalid(
          `${prefix}${name}`,
          `differs from \`${field}\`; the two mean the same. Give one of them.`,
        )
      }
      auth[field] = value
    }
  }
  return auth
}

function readField(
  fields: Record<string, unknown>,
  name: string,
  field: string,
  prefix: string,
): string | null {
  const path = `${prefix}${name}`
  if (field === 'vertex_credentials') {
    const value = fields[name]
    return value === undefined || value === null ? null : readServiceAccount(value, path)
  }
  if (field === 'azure_scope') {
    const scope = readText(fields, name, prefix)
    if (scope === null || SCOPE.test(scope)) return scope
    throw invalid(path, 'must be a scope of Azure AI, such as https://cognitiveservices.azure.com/.default.')
  }
  const pattern = PLACES[field]
  if (!pattern) return readSecret(fields, name, prefix)
  const place = readText(fields, name, prefix)
  if (place === null || pattern.test(place)) return place
  throw invalid(path, 'must be a plain name: letters, digits and hyphens.')
}

/**
 * What a provider is called with of what was given, and what follows from it: a service account says its project, an ARN its
 * region.
 */
export function completeAuth(given: Auth, { authFields, family }: ProviderEntry, model: string): Auth {
  const auth = Object.fromEntries(
    authFields.flatMap((name) => (given[name] === undefined ? [] : [[name, given[name]]])),
  )
  if (family === 'vertex') {
    const project = auth['vertex_project'] ?? serviceAccountOf(auth)?.project_id
    if (project !== undefined) auth['vertex_project'] = project
  }
  if (family === 'bedrock') {
    const region = auth['aws_region_name'] ?? /^arn:aws[\w-]*:[\w-]+:([a-z0-9-]+):/.exec(model)?.[1]
    if (region !== undefined) auth['aws_region_name'] = region
  }
  return auth
}

/** The base that a provider has for these places; null when it needs one and has none, or the place is none. */
export function usualBase({ defaultBase, placeBase }: ProviderEntry, auth: Auth | undefined): string | null {
  const place = placeBase && auth?.[placeBase.field]
  return placeBase && place ? placeBase.make(place) : defaultBase
}

/** The base of a listed deployment for other places: the provider's for them, where it was the provider's before. */
export function movedBase(
  provider: ProviderEntry,
  { api_base: base, auth: before }: Pick<CredentialBundle, 'api_base' | 'auth'>,
  auth: Auth,
): string | null {
  const isUsual = base === null || base === usualBase(provider, before)
  return isUsual ? usualBase(provider, auth) : base
}

/** An operator's deployment at places that a client chose beside his key; a base that they make is no longer one of his file. */
export function moved(
  found: CredentialBundle,
  places: Auth,
): Pick<CredentialBundle, 'auth' | 'api_base' | 'trusted_base'> {
  const auth = { ...found.auth, ...places }
  const provider = findProvider(found.provider)
  const base = provider ? movedBase(provider, found, auth) : found.api_base
  return { auth, api_base: base, trusted_base: found.trusted_base && base === found.api_base }
}

/** What a connection has, as far as completeness goes. */
export type Given = { apiKey: string | null; azureAdToken: string | null; apiBase: string | null; auth: Auth }

/** Whether any credential is among what was given; a place is none. */
export function hasCredential({ apiKey, azureAdToken, auth }: Omit<Given, 'apiBase'>): boolean {
  return apiKey !== null || azureAdToken !== null || Object.keys(auth).some((field) => !isPlace(field))
}

/** A field without which a provider can't be called, and what to say of it; null when nothing is missing. */
export function missingOf(given: Given, provider: ProviderEntry): { field: string; what: string } | null {
  const { credentials, placeBase, name, isKeyOptional, needs } = provider
  const has = (field: string) =>
    field === 'api_key'
      ? given.apiKey !== null
      : field === 'azure_ad_token'
        ? given.azureAdToken !== null
        : given.auth[field] !== undefined
  if (given.apiBase === null && !placeBase) {
    return { field: 'api_base', what: `is needed: provider "${name}" has no default base.` }
  }
  for (const { fields, with: others = [] } of credentials) {
    const present = [...fields, ...others].find(has)
    const absent = fields.find((field) => !has(field))
    if (present !== undefined && absent !== undefined)
      return { field: absent, what: `is needed beside \`${present}\`.` }
  }
  if (!isKeyOptional && !credentials.some(({ fields }) => fields.every(has))) {
    const [first = 'api_key', ...others] = credentials.map(({ fields }) => fields)
    const instead = others.map((fields) => ` Or give ${listed(fields)}.`).join('')
    return {
      field: first[0] ?? 'api_key',
      what: `is needed: the gateway adds no key of its own to a client's deployment.${instead}`,
    }
  }
  const place = [...needs, ...(placeBase && given.apiBase === null ? [placeBase.field] : [])].find(
    (field) => !has(field),
  )
  if (place !== undefined) return { field: place, what: `is needed: provider "${name}" is called by it.` }
  if (given.apiBase === null)
    return { field: placeBase?.field ?? 'api_base', what: `is no place of provider "${name}".` }
  return null
}

/** Credentials that LiteLLM finds or fetches by itself, and addresses that it would ask for them. */
const AMBIENT: ReadonlyMap<string, string> = new Map([
  ...[
    'aws_role_name',
    'aws_session_name',
    'aws_external_id',
    'aws_session_tags',
    'aws_sts_endpoint',
    'aws_web_identity_token',
  ].map(
    (name) =>
      [
        name,
        'no role is assumed and no token exchanged. Give `aws_access_key_id` and `aws_secret_access_key` by value, or an `api_key`.',
      ] as const,
  ),
  ['aws_bedrock_runtime_endpoint', 'give it as `api_base`.'],
  ['sagemaker_base_url', 'give it as `api_base`.'],
  ...['azure_ad_token_provider', 'azure_username', 'azure_password'].map(
    (name) =>
      [name, 'give `api_key`, `azure_ad_token`, or `tenant_id`, `client_id` and `client_secret`.'] as const,
  ),
])

/**
 * Refuses secrets of other providers: they would be sent to one that has no use for them.
 * @throws {InvalidRequestError} with the field's path.
 */
export function refuseForeignSecrets(
  fields: Record<string, unknown>,
  provider: ProviderEntry,
  prefix: string,
): void {
  const sets = provider.credentials.map((set) => [...set.fields, ...(set.with ?? [])])
  const taken = new Set(sets.flat().flatMap(namesOf))
  for (const name of ['api_key', ...PROVIDER_SECRETS]) {
    if (fields[name] === undefined || fields[name] === null || taken.has(name)) continue
    const why = AMBIENT.get(name)
    if (why !== undefined && provider.family !== 'openai')
      throw invalid(`${prefix}${name}`, `is refused: ${why}`)
    const advice = `It takes ${provider.credentials.map((set) => listed(set.fields)).join(', or ')}.`
    throw invalid(
      `${prefix}${name}`,
      `is no credential that provider "${provider.name}" takes here. ${advice}`,
    )
  }
}

function listed(fields: readonly string[]): string {
  return fields.map((field) => `\`${field}\``).join(' and ')
}
