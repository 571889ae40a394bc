import { isCatchAll } from '../plans/credential-group.ts'
import { concreteBundle } from '../settings/deployments.ts'
import { CredentialNotFoundError, InvalidRequestError, NotAllowedError } from '../errors.ts'
import { invalid, isObject } from '../settings/notes.ts'
import type { OperatorConfig } from '../settings/operator-config.ts'
import { BUNDLE_FIELDS } from '../schemas/credential.ts'

/** The secret part of a stored credential, as it takes the place of its id in a request. */
export type StoredCredential = {
  /** Whose requests may name it; null: those without a customer. */
  customer: string | null
  /** The one provider that its key is for; null: the model of a request says it. */
  provider: string | null
  /** Of a bundle, or `user_config` alone, as a request would bring them. */
  fields: Readonly<Record<string, unknown>>
}

/** Stored credentials of one tenant that a request names, by id. What is not among them is unknown. */
export type NamedCredentials = ReadonlyMap<string, StoredCredential>

/** More fallbacks than that are refused; nothing is read for them. */
const IDS_MAX = 64
const LISTS = ['fallbacks', 'context_window_fallbacks', 'content_policy_fallbacks']
/** What says by itself who is called, or where, and so can't stand beside a stored credential. */
const OTHERS: readonly string[] = [...BUNDLE_FIELDS, 'user_config', 'custom_llm_provider']

/** No stored credential: of a request that names none. */
export const NONE_NAMED: NamedCredentials = new Map()

/** Ids of the stored credentials that a request names, for itself or in one of its fallbacks; each once. */
export function credentialIds(body: Record<string, unknown>): string[] {
  const ids = [body, ...hopsOf(body)].map(({ credential }) => credential)
  return [...new Set(ids.filter((id) => typeof id === 'string'))].slice(0, IDS_MAX)
}

/** Whether a request has `credential` in one of the places for it. */
export function namesCredential(body: Record<string, unknown>): boolean {
  return isGiven(body['credential']) || hopsOf(body).some(({ credential }) => isGiven(credential))
}

function hopsOf(body: Record<string, unknown>): Record<string, unknown>[] {
  return LISTS.flatMap((name) => (Array.isArray(body[name]) ? body[name].filter(isHop) : []))
}

// The other objects are maps of names: what a model group is called, nobody minds.
function isHop(item: unknown): item is Record<string, unknown> {
  return isObject(item) && typeof item['model'] === 'string'
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined
}

/** A request with what was stored in the places of the ids that it named. */
export type Expanded = {
  body: Record<string, unknown>
  /** Of the body's own fields those that were stored: none of them is for a provider's body. */
  stored: ReadonlySet<string>
  /** Does something with that body; of what is refused in a stored credential it is said by which id it came. */
  told: <Value>(work: () => Value) => Value
}

/**
 * Puts stored credentials into the places of their ids.
 * @param named Those of the request's tenant; only such as are its customer's are put in.
 * @throws {InvalidRequestError} `ambiguous_credentials` beside any other credential or place.
 * @throws {CredentialNotFoundError} for one that is not there, or another customer's.
 */
export function expandCredentials(
  request: { body: Record<string, unknown>; customer: string | null },
  named: NamedCredentials,
  operator: OperatorConfig,
): Expanded {
  const places: Place[] = []
  const put = (fields: Record<string, unknown>, path: string): Record<string, unknown> => {
    const { credential: id, ...others } = fields
    if (!isGiven(id)) return id === undefined ? fields : others
    const stored = find(id, `${path}credential`, request.customer, named)
    refuseOthers(others, path)
    const own = pinned(stored, others['model'], operator, `${path}credential`)
    places.push({ path, names: new Set(Object.keys(own)) })
    return { ...others, ...own }
  }
  const body = { ...put(request.body, '') }
  const stored = places[0]?.names ?? new Set<string>()
  for (const name of LISTS) {
    const list = body[name]
    if (!Array.isArray(list)) continue
    body[name] = list.map((item: unknown, at) => (isHop(item) ? put(item, `${name}[${at}].`) : item))
  }
  return { body, stored, told: (work) => telling(places, work) }
}

/** Where a stored credential was put in, and as which fields. */
type Place = { path: string; names: ReadonlySet<string> }

function find(id: unknown, path: string, customer: string | null, named: NamedCredentials): StoredCredential {
  if (typeof id !== 'string') throw invalid(path, 'must be the id of a stored credential.')
  const stored = named.get(id)
  if (!stored || stored.customer !== customer) throw new CredentialNotFoundError(path)
  return stored
}

function refuseOthers(fields: Record<string, unknown>, path: string): void {
  const other = OTHERS.find((name) => isGiven(fields[name]))
  if (other === undefined) return
  const message = `\`${path}${other}\` can't stand beside \`${path}credential\`: a stored credential is used as it was stored, with nobody else's key or base. Send one of the two, or store another credential.`
  throw new InvalidRequestError(message, `${path}${other}`, 'ambiguous_credentials')
}

/** The stored fields, with the provider that the key is for: no name of a model leads it to another one. */
function pinned(
  { provider, fields }: StoredCredential,
  model: unknown,
  operator: OperatorConfig,
  path: string,
): Record<string, unknown> {
  if (provider === null) return { ...fields }
  const match = typeof model === 'string' ? operator.names.find(model) : null
  if (!match || isCatchAll(match)) return { ...fields, custom_llm_provider: provider }
  const isElsewhere = match.members.some(
    ({ entry, writtenModel }) => concreteBundle(entry, writtenModel)?.provider !== provider,
  )
  if (!isElsewhere) return { ...fields }
  const message = `\`${path}\` is for provider "${provider}", and its model is one of the operator's that is called elsewhere.`
  throw new InvalidRequestError(message, path, 'credential_not_for_model')
}

function telling<Value>(places: readonly Place[], work: () => Value): Value {
  try {
    return work()
  } catch (error) {
    const isForbidden = error instanceof NotAllowedError
    if (!(isForbidden || error instanceof InvalidRequestError) || error.param === null) throw error
    const { param } = error
    // The longest path is the nearest one: that of the request itself is empty.
    const place = places.findLast(({ path, names }) => {
      const name = /^[^.[]*/.exec(param.slice(path.length))?.[0] ?? ''
      return param.startsWith(path) && names.has(name)
    })
    if (!place) throw error
    if (isForbidden) throw error.at(`${place.path}credential`)
    const message = `\`${place.path}credential\` can't be used here: ${error.message}`
    throw new InvalidRequestError(message, `${place.path}credential`, error.code)
  }
}
