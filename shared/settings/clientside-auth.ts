import { withDefaults, type Connection } from './connection.ts'
import { bundleFrom } from './deployments.ts'
import { invalid, isObject } from './notes.ts'
import { AUTH_FIELDS, isPlace, movedBase, namesOf, type Auth } from './provider-auth.ts'
import { findProvider } from './provider-catalog.ts'
import type { CredentialBundle } from '../schemas/plan.ts'
import { UrlPatternError, compileUrlPattern } from './url-pattern.ts'

/**
 * One entry of an operator's `configurable_clientside_auth_params`: a parameter that clients may set, with any value,
 * or a base that must match a pattern.
 */
export type OptIn = { name: string; matches: ((url: string) => boolean) | null }

const BASES = ['api_base', 'base_url']

/**
 * Reads `configurable_clientside_auth_params`. A pattern is also taken literally, as in LiteLLM.
 * @throws {InvalidRequestError} with the entry's path; the config loader makes it a ConfigError.
 */
export function readOptIns(value: unknown, path: string): OptIn[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw invalid(path, 'must be a list of names, or of {"api_base": pattern}.')
  return value.flatMap((entry: unknown, index) => readOptIn(entry, `${path}[${index}]`))
}

function readOptIn(entry: unknown, path: string): OptIn[] {
  if (typeof entry === 'string' && entry !== '') return [{ name: entry, matches: null }]
  if (!isObject(entry)) throw invalid(path, 'must be a name, or {"api_base": pattern}.')
  return Object.entries(entry).map(([name, pattern]) => {
    if (!BASES.includes(name) || typeof pattern !== 'string') {
      throw invalid(`${path}.${name}`, 'is not known: only `api_base` and `base_url` take a pattern.')
    }
    return { name, matches: compile(pattern, `${path}.${name}`) }
  })
}

function compile(pattern: string, path: string): (url: string) => boolean {
  if (!/^\^?https?:/.test(pattern)) {
    throw invalid(path, 'must begin with ^https://, since it is matched against the whole URL.')
  }
  const literal = pattern.replace(/\/+$/, '')
  try {
    const matches = compileUrlPattern(pattern)
    return (url) => url === literal || matches(url)
  } catch (error) {
    if (!(error instanceof UrlPatternError)) throw error
    throw invalid(path, `can't be used as a pattern: it ${error.message}.`)
  }
}

/** The first of the given parameters that a deployment does not let clients set, or null when it lets them all. */
export function firstRefused(
  optIns: readonly OptIn[],
  given: Connection,
  names: readonly string[],
): string | null {
  return names.find((name) => !isAllowed(optIns, given, name)) ?? null
}

function isAllowed(optIns: readonly OptIn[], given: Connection, name: string): boolean {
  const bases = optIns.filter((optIn) => BASES.includes(optIn.name))
  if (BASES.includes(name)) {
    return bases.some(({ matches }) => matches === null || (given.apiBase !== null && matches(given.apiBase)))
  }
  if (optIns.some((optIn) => sameField(optIn.name, name))) return true
  // Leave to bring a base is leave to bring the key for it: the operator's key never goes there.
  return bases.length > 0 && (name === 'api_key' || name === 'azure_ad_token')
}

/** `vertex_ai_location` opens `vertex_location`, and the other way round. */
function sameField(left: string, right: string): boolean {
  return (
    left === right ||
    AUTH_FIELDS.some((field) => [left, right].every((name) => namesOf(field).includes(name)))
  )
}

/**
 * A deployment with another key, which its client gives: none of its own secrets is left in it. With a base given too
 * nothing is left of it but provider, model and API version.
 */
export function withClientKey(listed: CredentialBundle, given: Connection): CredentialBundle {
  const isOwnBase = given.apiBase !== null
  const auth = isOwnBase ? given.auth : { ...regionsOf(listed), ...given.auth }
  const base = baseFor(listed, { ...given, auth })
  const apiVersion = given.apiVersion ?? listed.api_version
  const merged: Connection = { ...given, auth, apiBase: base, apiVersion }
  const provider = findProvider(listed.provider)
  const connection = provider ? withDefaults(merged, provider, listed.model) : merged
  const isOperatorBase = listed.trusted_base && !isOwnBase && base === listed.api_base
  const bundle = bundleFrom(connection, listed.provider, listed.model, isOperatorBase)
  if (isOwnBase) return bundle
  bundle.params = listed.params
  if (listed.drop) bundle.drop = listed.drop
  if (listed.mock_response !== undefined) bundle.mock_response = listed.mock_response
  if (listed.mock_timeout !== undefined) bundle.mock_timeout = listed.mock_timeout
  if (listed.mock_delay_s !== undefined) bundle.mock_delay_s = listed.mock_delay_s
  return bundle
}

/** Where a listed deployment is called, a project left out: that belongs to whom the key belongs. */
function regionsOf({ auth = {} }: CredentialBundle): Auth {
  return Object.fromEntries(
    Object.entries(auth).filter(([field]) => isPlace(field) && field !== 'vertex_project'),
  )
}

/** The base of a listed deployment beside what a client gives. */
export function baseFor(
  listed: CredentialBundle,
  given: Pick<Connection, 'apiBase' | 'auth'>,
): string | null {
  const provider = findProvider(listed.provider)
  if (given.apiBase !== null || !provider) return given.apiBase ?? listed.api_base
  return movedBase(provider, listed, { ...listed.auth, ...given.auth })
}

/** Nothing given: what goes with a job beside an operator's deployment that is called as it stands. */
export const BARE: Connection = {
  apiKey: null,
  azureAdToken: null,
  apiBase: null,
  apiVersion: null,
  organization: null,
  auth: {},
}

/**
 * What a client overrides beside an operator's key: the worker puts the rest in (`bundleOf`), so that no secret of
 * the operator is ever in Redis.
 */
export function withOperatorKey(operator: CredentialBundle, given: Connection): CredentialBundle {
  const { apiVersion, organization, auth } = given
  const overrides = { ...BARE, apiVersion, organization, auth }
  return bundleFrom(overrides, operator.provider, operator.model, true)
}
