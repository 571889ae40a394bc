import type { CredentialSecret } from './credential-record.ts'
import { readConnection, refuseFilePaths, type Connection, type Trust } from '../settings/connection.ts'
import { suggestion } from '../settings/did-you-mean.ts'
import { InvalidRequestError } from '../errors.ts'
import { createModelNames } from '../settings/model-names.ts'
import { invalid } from '../settings/notes.ts'
import { checkConfig } from '../plans/plan-of-config.ts'
import { resolvePlan, sourceOf, type PlanDependencies } from '../plans/plan.ts'
import { AUTH_FIELDS, hasCredential, namesOf } from '../settings/provider-auth.ts'
import { allProviders, findProvider } from '../settings/provider-catalog.ts'
import { BUNDLE_FIELDS, type CredentialUpdate } from '../schemas/credential.ts'
import { LOCATION_FIELDS, PROVIDER_SECRETS } from '../schemas/field-names.ts'

const HINT_CHARACTERS = 4
/** Of a shorter key four characters would be too much of it. */
const KEY_CHARACTERS_MIN = 12
/** Asked for in a plan that nobody runs. */
const MODEL = 'stored-credential'
/** What some provider can be called with. */
const USED: ReadonlySet<string> = new Set(['api_key', 'azure_ad_token', ...AUTH_FIELDS.flatMap(namesOf)])

type Given = Pick<CredentialUpdate, (typeof BUNDLE_FIELDS)[number] | 'provider' | 'user_config'>

/** Whose it is, as far as a plan goes by it. */
export type CredentialOwner = { tenant: string; customer: string | null }

/** Names of the fields that make the secret part of a stored credential, as far as they are given. */
export function secretNames(given: Given): string[] {
  const names = ['provider', 'user_config', ...BUNDLE_FIELDS] as const
  return names.filter((name) => given[name] !== undefined && given[name] !== null)
}

/**
 * Checks the secret part of a stored credential as a request with these fields would be, as far as that can be told without
 * its model.
 * @throws {InvalidRequestError} with the field as `param`; no value is repeated.
 */
export function checkSecret(given: Given, owner: CredentialOwner, deps: PlanDependencies): CredentialSecret {
  const { provider = null, user_config: config = null } = given
  const fields = Object.fromEntries(
    BUNDLE_FIELDS.flatMap((name) =>
      given[name] === undefined || given[name] === null ? [] : [[name, given[name]]],
    ),
  )
  const { allowedClientHosts: allowedHosts } = deps.operator.generalSettings
  const trust: Trust = { kind: 'client', egress: deps.egress, allowedHosts }
  if (config !== null)
    return ofConfig(config, provider === null ? fields : { provider, ...fields }, trust, deps)
  sourceOf({ gateway: {}, credentials: fields }, deps.operator)
  refuseFilePaths(fields, '')
  const connection = readConnection(fields, '', trust, AUTH_FIELDS)
  if (provider === null) requireOfAny(fields, connection)
  else requireOfProvider(provider, fields, owner, deps)
  const host = connection.apiBase === null ? null : new URL(connection.apiBase).host
  return { provider, fields, host, hint: hintOf(connection) }
}

function ofConfig(
  config: Record<string, unknown>,
  others: Record<string, unknown>,
  trust: Trust,
  { operator }: PlanDependencies,
): CredentialSecret {
  const [other] = Object.keys(others)
  if (other !== undefined) {
    const message = `\`${other}\` can't stand beside \`user_config\`: a stored credential is one of the two.`
    throw new InvalidRequestError(message, other, 'ambiguous_credentials')
  }
  const fields = { user_config: config }
  sourceOf({ gateway: fields, credentials: {} }, operator)
  checkConfig(fields, { trust, notes: { warnings: [] } })
  return { provider: null, fields, host: null, hint: null }
}

/** Without a provider the model of each request says whose it is: here it is one that somebody takes. */
function requireOfAny(fields: Record<string, unknown>, connection: Connection): void {
  const unused = PROVIDER_SECRETS.find((name) => fields[name] !== undefined && !USED.has(name))
  if (unused !== undefined) throw invalid(unused, 'is no credential that a provider is called with here.')
  if (hasCredential(connection)) return
  const what =
    'is needed, or what else a provider is called with. A server that takes no key needs its `provider`.'
  throw invalid('api_key', what)
}

/** A plan is made with it, of nothing but the credential itself. */
function requireOfProvider(
  provider: string,
  fields: Record<string, unknown>,
  owner: CredentialOwner,
  deps: PlanDependencies,
): void {
  const entry = findProvider(provider)
  if (!entry) {
    const advice = suggestion(
      provider,
      allProviders().map(({ name }) => name),
    )
    throw invalid('provider', `is no known provider.${advice}`)
  }
  const body = { ...fields, model: MODEL, custom_llm_provider: entry.name }
  const operator = { ...deps.operator, names: createModelNames<never>([], new Map()) }
  const [endpoint = 'chat' as const] = entry.endpoints
  try {
    const resolved = resolvePlan({ body, ...owner, endpoint }, { ...deps, operator, cache: null })
    const place = LOCATION_FIELDS.find((name) => Object.hasOwn(resolved.body, name))
    if (place !== undefined) throw invalid(place, `is nothing that provider "${provider}" is called by.`)
  } catch (error) {
    if (!(error instanceof InvalidRequestError) || error.param !== 'model') throw error
    throw new InvalidRequestError(error.message.replace('`model`', '`provider`'), 'provider', error.code)
  }
}

function hintOf({ apiKey }: Connection): string | null {
  return apiKey === null || apiKey.length < KEY_CHARACTERS_MIN ? null : `…${apiKey.slice(-HINT_CHARACTERS)}`
}

/**
 * The secret part that a change leads to; null: it stays as it is. A key goes to the base that it was given with: an `api_key`
 * alone takes the place of the old one, everything else is given whole.
 * @param stored gives what is there.
 * @throws {InvalidRequestError} for another base without a key for it, and for one kind in the place of the other.
 */
export function changedSecret(
  given: Given,
  kind: 'bundle' | 'user_config',
  stored: () => { provider: string | null; fields: Readonly<Record<string, unknown>> },
): Given | null {
  const names = secretNames(given)
  const [first] = names
  if (first === undefined) return null
  if ((kind === 'user_config') !== names.includes('user_config')) {
    const what =
      kind === 'user_config'
        ? 'is a whole `user_config`: give a new one'
        : 'is the bundle of one key: give its fields'
    const message = `\`${first}\` has no place here: this credential ${what}, or store another credential.`
    throw new InvalidRequestError(message, first, 'invalid_parameter')
  }
  if (kind === 'user_config') return given
  const { provider, fields } = stored()
  if (names.length === 1 && first === 'api_key' && fields['api_key'] !== undefined) {
    return { ...fields, provider, api_key: given.api_key }
  }
  const isKeyed = Object.keys(fields).some(isKey)
  if (isKeyed && !names.some(isKey)) {
    const message = `\`${first}\` needs the key for it in the same request: a stored key never goes to another address, provider or account than it was given for.`
    throw new InvalidRequestError(message, first, 'credentials_required')
  }
  return given
}

const KEYS: ReadonlySet<string> = new Set(['api_key', ...PROVIDER_SECRETS])

function isKey(name: string): boolean {
  return KEYS.has(name)
}
