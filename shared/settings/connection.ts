import { readSecret, readText } from './credential-text.ts'
import type { EgressPolicy } from '../egress.ts'
import { invalid } from './notes.ts'
import { completeAuth, missingOf, readAuth, usualBase, type Auth } from './provider-auth.ts'
import type { ProviderEntry } from './provider-catalog.ts'
import { AZURE_API_VERSION, unservedReason } from './provider-catalog.ts'
import { isFilePath, isForbiddenHeader } from './refused-keys.ts'
import type { CredentialBundle } from '../schemas/plan.ts'

/** Whose word an address is: a client's is checked, the operator's is taken as it stands in his file. */
export type Trust =
  | { kind: 'client'; egress: EgressPolicy; allowedHosts: string[] | null }
  | { kind: 'operator' }

/** What somebody gave of a bundle. Null: not given. */
export type Connection = {
  apiKey: string | null
  azureAdToken: string | null
  /** Normalised: absolute, lower-case host, no trailing slash. */
  apiBase: string | null
  apiVersion: string | null
  organization: string | null
  /** What else it has by LiteLLM's names, each in one form. */
  auth: Auth
}

const VERSION = /^[A-Za-z0-9._-]{1,64}$/
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/
const HEADER_VALUE = /^[\x20-\x7e\t]{0,4096}$/
const HEADERS_MAX = 32

/**
 * Reads key, base, version, organization and the named fields of `auth` from a set of fields and checks each. `prefix` is
 * the JSON path of the fields, with a dot at its end, or empty at the root.
 * @throws {InvalidRequestError} with the field's path; a credential is never repeated.
 */
export function readConnection(
  fields: Record<string, unknown>,
  prefix: string,
  trust: Trust,
  authFields: readonly string[],
): Connection {
  const apiVersion = readText(fields, 'api_version', prefix)
  if (apiVersion !== null && !VERSION.test(apiVersion)) {
    throw invalid(`${prefix}api_version`, 'must be a version such as "2024-10-21".')
  }
  return {
    apiKey: readSecret(fields, 'api_key', prefix),
    azureAdToken: readSecret(fields, 'azure_ad_token', prefix),
    apiBase: readBase(fields, prefix, trust),
    apiVersion,
    organization: readSecret(fields, 'organization', prefix),
    auth: readAuth(fields, prefix, authFields),
  }
}

function readBase(fields: Record<string, unknown>, prefix: string, trust: Trust): string | null {
  const apiBase = readUrl(fields, 'api_base', prefix, trust)
  const baseUrl = readUrl(fields, 'base_url', prefix, trust)
  if (apiBase !== null && baseUrl !== null && apiBase !== baseUrl) {
    throw invalid(`${prefix}base_url`, 'differs from `api_base`; the two mean the same. Give one of them.')
  }
  return apiBase ?? baseUrl
}

function readUrl(fields: Record<string, unknown>, name: string, prefix: string, trust: Trust): string | null {
  const value = readText(fields, name, prefix)
  if (value === null) return null
  const path = `${prefix}${name}`
  if (trust.kind === 'client') {
    return normalBase(trust.egress.checkUrl(value, path, { allowedHosts: trust.allowedHosts }))
  }
  const url = URL.canParse(value) ? new URL(value) : null
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.hash) {
    throw invalid(path, 'must be an http or https URL without user name or fragment.')
  }
  // An Azure base of LiteLLM's users may end in `?api-version=`.
  return normalBase(url) + url.search
}

function normalBase(url: URL): string {
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}

/** Fields of which LiteLLM reads the file when they hold a path; keys are never read from files, and may look like one. */
const FILE_FIELDS = ['aws_web_identity_token', 'oci_key', 'vertex_ai_credentials', 'vertex_credentials']

/**
 * Refuses paths of files on the server where LiteLLM would read one.
 * @throws {InvalidRequestError} with the field's path.
 */
export function refuseFilePaths(fields: Record<string, unknown>, prefix: string): void {
  for (const name of FILE_FIELDS) {
    const value = fields[name]
    if (typeof value !== 'string' || !isFilePath(value)) continue
    throw invalid(`${prefix}${name}`, 'looks like the path of a file. Send the credential itself.')
  }
}

/**
 * The connection with what the provider adds to it: its default base, or the one that a region or account makes, the
 * Azure version, a service account's project. Null where the provider has none.
 */
export function withDefaults(connection: Connection, provider: ProviderEntry, model: string): Connection {
  const auth = completeAuth(connection.auth, provider, model)
  return {
    ...connection,
    apiKey: bareKey(connection.apiKey, provider),
    auth,
    apiBase: completeBase(connection.apiBase, provider) ?? usualBase(provider, auth),
    apiVersion: provider.family === 'azure' ? (connection.apiVersion ?? AZURE_API_VERSION) : null,
  }
}

/** LiteLLM marks a Snowflake access token as one; Snowflake sees that by itself. */
export function bareKey(key: string | null, { name }: Pick<ProviderEntry, 'name'>): string | null {
  return name === 'snowflake' && key !== null ? key.replace(/^pat\//, '') : key
}

/** LiteLLM's users give some servers by their origin alone. */
function completeBase(base: string | null, { basePath }: ProviderEntry): string | null {
  if (base === null || basePath === null) return base
  return URL.parse(base)?.pathname === '/' && !base.includes('?') ? base + basePath : base
}

/**
 * Checks that a provider can be called with what was given. A mocked deployment needs nothing.
 * @throws {InvalidRequestError} naming what is missing.
 */
export function requireComplete(connection: Connection, provider: ProviderEntry, prefix: string): void {
  if (provider.family === 'unserved') throw invalid(`${prefix}model`, `names ${unservedReason(provider)}`)
  const missing = missingOf(connection, provider)
  if (missing) throw invalid(`${prefix}${missing.field}`, missing.what)
}

/**
 * Checks a base that a client's region or account made, as one that he gave: before anything is stored.
 * @throws {InvalidRequestError} with the place's path.
 */
export function checkMadeBase(
  { apiBase, auth }: Pick<Connection, 'apiBase' | 'auth'>,
  provider: ProviderEntry,
  prefix: string,
  trust: Trust,
): void {
  const { placeBase, isPlacePrivate } = provider
  if (trust.kind !== 'client' || apiBase === null || !placeBase || apiBase !== usualBase(provider, auth))
    return
  const allowedHosts = isPlacePrivate ? trust.allowedHosts : null
  trust.egress.checkUrl(apiBase, `${prefix}${placeBase.field}`, { allowedHosts })
}

/** What a bundle was made of. */
export function connectionOf(bundle: CredentialBundle): Connection {
  return {
    apiKey: bundle.api_key,
    azureAdToken: bundle.azure_ad_token,
    apiBase: bundle.api_base,
    apiVersion: bundle.api_version,
    organization: bundle.organization,
    auth: bundle.auth ?? {},
  }
}

/**
 * Headers of a deployment, names in lower case. Credentials, routing and framing are not set by headers.
 * @throws {InvalidRequestError} with the header's path; values are not repeated.
 */
export function readHeaders(value: unknown, path: string, trust: Trust): Record<string, string> {
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value)) throw invalid(path, 'must be an object of headers.')
  const headers: Record<string, string> = {}
  const entries = Object.entries(value)
  if (entries.length > HEADERS_MAX) throw invalid(path, `must have at most ${HEADERS_MAX} headers.`)
  for (const [name, content] of entries) {
    const headerPath = `${path}.${name}`
    if (!HEADER_NAME.test(name)) throw invalid(path, 'has a name that is no header name.')
    if (trust.kind === 'client' && isForbiddenHeader(name)) {
      throw invalid(headerPath, 'is refused: credentials and routing are not set by headers. Remove it.')
    }
    if (typeof content !== 'string' || !HEADER_VALUE.test(content)) {
      throw invalid(headerPath, 'must be printable ASCII text in one line.')
    }
    headers[name.toLowerCase()] = content
  }
  return headers
}
