import type { EgressPolicy } from './egress.ts'
import { invalid } from './notes.ts'
import type { ProviderEntry } from './provider-catalog.ts'
import { AZURE_API_VERSION } from './provider-catalog.ts'
import { isFilePath, isForbiddenHeader, refuseReferences } from './refused-keys.ts'
import { PROVIDER_SECRETS } from './schemas/field-names.ts'

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
}

const SECRET = /^[\x21-\x7e]+$/
const SECRET_CHARACTERS_MAX = 16_384
const VERSION = /^[A-Za-z0-9._-]{1,64}$/
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/
const HEADER_VALUE = /^[\x20-\x7e\t]{0,4096}$/
const HEADERS_MAX = 32

/**
 * Reads key, base, version and organization from a set of fields and checks each. `prefix` is the JSON path of the
 * fields, with a dot at its end, or empty at the root.
 * @throws {InvalidRequestError} with the field's path; a credential is never repeated.
 */
export function readConnection(fields: Record<string, unknown>, prefix: string, trust: Trust): Connection {
  const apiVersion = text(fields, 'api_version', prefix)
  if (apiVersion !== null && !VERSION.test(apiVersion)) {
    throw invalid(`${prefix}api_version`, 'must be a version such as "2024-10-21".')
  }
  return {
    apiKey: secret(fields, 'api_key', prefix),
    azureAdToken: secret(fields, 'azure_ad_token', prefix),
    apiBase: readBase(fields, prefix, trust),
    apiVersion,
    organization: secret(fields, 'organization', prefix),
  }
}

function text(fields: Record<string, unknown>, name: string, prefix: string): string | null {
  const value = fields[name]
  if (value === undefined || value === null) return null
  const path = `${prefix}${name}`
  if (typeof value !== 'string') throw invalid(path, 'must be a string.')
  // Taken for absent, an empty variable would let the call go out with another key or to another base than meant.
  if (value.trim() === '') throw invalid(path, 'is empty. Give a value or leave it out.')
  refuseReferences(value, path)
  return value
}

function secret(fields: Record<string, unknown>, name: string, prefix: string): string | null {
  const value = text(fields, name, prefix)
  if (value === null) return null
  const path = `${prefix}${name}`
  if (!SECRET.test(value)) {
    throw invalid(path, 'must be printable ASCII without spaces or line breaks; check how it was copied.')
  }
  if (value.length > SECRET_CHARACTERS_MAX) throw invalid(path, 'is too long to be a credential.')
  return value
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
  const value = text(fields, name, prefix)
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
 * Refuses secrets of other providers: they would be sent to one that has no use for them.
 * @throws {InvalidRequestError} with the field's path.
 */
export function refuseForeignSecrets(
  fields: Record<string, unknown>,
  provider: ProviderEntry,
  prefix: string,
): void {
  for (const name of PROVIDER_SECRETS) {
    if (fields[name] === undefined || fields[name] === null) continue
    if (name === 'azure_ad_token' && provider.family === 'azure') continue
    const advice =
      provider.family === 'azure' ? 'Use `api_key` or `azure_ad_token`.' : 'Use `api_key`, or remove it.'
    throw invalid(
      `${prefix}${name}`,
      `is no credential that provider "${provider.name}" takes here. ${advice}`,
    )
  }
}

/** The connection with the provider's defaults filled in; null where the provider has none. */
export function withDefaults(connection: Connection, provider: ProviderEntry): Connection {
  return {
    ...connection,
    apiBase: connection.apiBase ?? provider.defaultBase,
    apiVersion: provider.family === 'azure' ? (connection.apiVersion ?? AZURE_API_VERSION) : null,
  }
}

/**
 * Checks that a provider can be called with what was given. A mocked deployment needs nothing.
 * @throws {InvalidRequestError} naming what is missing.
 */
export function requireComplete(connection: Connection, provider: ProviderEntry, prefix: string): void {
  if (provider.family === 'unserved') {
    throw invalid(
      `${prefix}model`,
      `names provider "${provider.name}", which this gateway does not serve yet.`,
    )
  }
  if (connection.apiBase === null) {
    throw invalid(`${prefix}api_base`, `is needed: provider "${provider.name}" has no default base.`)
  }
  if (connection.apiKey === null && connection.azureAdToken === null && !provider.isKeyOptional) {
    throw invalid(
      `${prefix}api_key`,
      `is needed: the gateway adds no key of its own to a client's deployment.`,
    )
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
