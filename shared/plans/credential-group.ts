import { baseFor, firstRefused, withClientKey, withOperatorKey } from '../settings/clientside-auth.ts'
import type { Connection } from '../settings/connection.ts'
import {
  checkMadeBase,
  connectionOf,
  readConnection,
  readHeaders,
  refuseFilePaths,
  requireComplete,
  withDefaults,
} from '../settings/connection.ts'
import type { Filter } from './deployment-filters.ts'
import type { Deployment } from '../settings/deployments.ts'
import { OPERATOR, bundleFrom, concreteBundle, regionOf } from '../settings/deployments.ts'
import type { Mock } from '../settings/mock-switches.ts'
import { isMocked, mockOf, refuseMocks } from '../settings/mock-switches.ts'
import type { NameMatch } from '../settings/model-names.ts'
import { invalid } from '../settings/notes.ts'
import type { OperatorDeployment } from '../settings/operator-deployments.ts'
import { isCallable } from '../settings/operator-deployments.ts'
import type { PlanContext } from './plan-context.ts'
import type { Group, Member, Planned } from './plan-groups.ts'
import { createGroups } from './plan-groups.ts'
import { refuseHeaders } from './plan-hops.ts'
import { AUTH_FIELDS, hasCredential, missingOf, refuseForeignSecrets } from '../settings/provider-auth.ts'
import type { ProviderEntry, ResolvedModel } from '../settings/provider-catalog.ts'
import { findProvider, resolveModel } from '../settings/provider-catalog.ts'
import { readRouter } from '../settings/router-settings.ts'
import type { CredentialBundle } from '../schemas/plan.ts'

const NO_SETTINGS: Deployment['settings'] = {
  weight: null,
  rpm: null,
  tpm: null,
  num_retries: null,
  timeout_s: null,
  cooldown_time_s: null,
  allowed_fails: null,
}

/** What credentials of a request, or of a fallback that is an object, come to. */
export type CredentialGroup = {
  group: Group
  /** What the request alone makes; null on entries of the operator's list. */
  alone: CredentialBundle | null
  /** Throws what the request's tags and region say when they leave nobody; of a fallback nothing is said. */
  requireLeft: () => void
}

/**
 * The operator's deployments where they opt in, else one deployment made of the request alone.
 * @throws {InvalidRequestError} with the credential's field as `param`.
 */
export function credentialGroup(asked: PlanContext): CredentialGroup {
  const given = readGiven(asked)
  const match = asked.operator.names.find(asked.model)
  // A bare `*`, or an upstream name that happens to be the operator's too, must not end bringing one's own key.
  if (!match || (isCatchAll(match) && isComplete(resolve(asked, given), given))) {
    return aloneGroup(asked, given)
  }
  return operatorsGroup(asked, given, match)
}

/**
 * Reads the credentials of a request.
 * @throws {InvalidRequestError} with the field's path.
 */
export function readGiven(asked: PlanContext): Connection {
  const { credentials } = asked.split
  refuseFilePaths(credentials, '')
  const given = readConnection(credentials, '', asked.trust, AUTH_FIELDS)
  if (given.apiBase !== null && !hasKey(given) && !isKeyless(asked, given)) {
    const field = credentials['api_base'] === undefined ? 'base_url' : 'api_base'
    throw invalid(field, 'needs its own `api_key`: no key that stands elsewhere goes to this address.')
  }
  return given
}

/** Whether a key of its own is among what was given: a region or account is none. */
export function hasKey(given: Connection): boolean {
  return hasCredential(given)
}

/** A base of somebody's own server that takes no key, asked for by nobody's list. */
function isKeyless(asked: PlanContext, given: Connection): boolean {
  const match = asked.operator.names.find(asked.model)
  const resolved = resolve(asked, given)
  return (!match || isCatchAll(match)) && resolved.kind === 'resolved' && resolved.provider.isKeyOptional
}

/** Provider and model of a name, by what stands beside it. */
export function resolve({ model, split }: PlanContext, given: Connection): ResolvedModel {
  const custom = split.gateway['custom_llm_provider']
  return resolveModel(model, {
    customProvider: typeof custom === 'string' ? custom : undefined,
    apiVersion: given.apiVersion ?? undefined,
  })
}

/** Whether a name was found only because a list takes every name, or calls a model by it. */
export function isCatchAll({ how, pattern }: NameMatch<Deployment>): boolean {
  return how === 'model' || pattern === '*'
}

/** Whether credentials are enough to call a model at its provider. */
export function isComplete(resolved: ResolvedModel, given: Connection): boolean {
  if (resolved.kind === 'unresolved' || resolved.provider.family === 'unserved') return false
  const { provider, model } = resolved
  const isOwn = hasKey(given) || (provider.isKeyOptional && given.apiBase !== null)
  return isOwn && missingOf(withDefaults(given, provider, model), provider) === null
}

/**
 * A deployment made of the request alone: nothing of anybody's list is in it.
 * @throws {InvalidRequestError} naming what is missing.
 */
export function aloneGroup(asked: PlanContext, given: Connection): CredentialGroup {
  const { gateway, credentials } = asked.split
  const resolved = resolve(asked, given)
  if (resolved.kind === 'unresolved') throw invalid('model', resolved.reason)
  const { provider, model } = resolved
  const connection = withDefaults(given, provider, model)
  const mock = mockOf(gateway)
  if (provider.family !== 'unserved') refuseForeignSecrets(credentials, provider, '')
  if (mock === null) requireComplete(connection, provider, '')
  checkMadeBase(connection, provider, '', asked.trust)
  const alone = bundleFrom(connection, provider.name, model, false)
  for (const field of ['default_headers', 'headers', 'extra_headers']) {
    Object.assign(alone.headers, readHeaders(gateway[field], field, asked.trust))
  }
  Object.assign(alone, mock)
  const group = groupOfOne(asked, alone)
  const requireLeft = () => {
    if (group.members().length === 0) throw filterOfOne(asked).refusal([{ entry: entryOf(asked, alone) }])
  }
  return { group, alone, requireLeft }
}

function entryOf({ model }: PlanContext, bundle: CredentialBundle): Deployment {
  return {
    group: model,
    writtenModel: model,
    customProvider: undefined,
    bundle,
    settings: NO_SETTINGS,
    own: { baseModel: null, maxInputTokens: null, prices: null },
    tags: [],
    region: regionOf(bundle),
    infoId: null,
  }
}

/** A group of one deployment that no list has. */
export function groupOfOne(asked: PlanContext, bundle: CredentialBundle): Group {
  const { model, ownerId } = asked
  const member: Member = {
    entry: entryOf(asked, bundle),
    own: bundle,
    identity: bundle,
    isCompletedByOperator: false,
    order: undefined,
  }
  const members = () => filterOfOne(asked).choose([member])
  return { name: model, ownerId: ownerId(), keys: null, members, hop: null }
}

/** Where nobody configured anything there is no filter by tags; a region holds. */
function filterOfOne({ filterOf, notes }: PlanContext): Filter {
  return filterOf(readRouter({}, '', notes))
}

function operatorsGroup(
  asked: PlanContext,
  given: Connection,
  match: NameMatch<OperatorDeployment>,
): CredentialGroup {
  const { gateway } = asked.split
  refuseHeaders(gateway, "can't be set for a model of the operator.")
  if (!hasKey(given)) refuseMocks(gateway, asked.operator.generalSettings.allowMockTesting)
  const allowed = { ...match, members: allowedMembers(asked, given, match) }
  const mock = mockOf(gateway)
  const groups = createGroups<OperatorDeployment>({
    ownerId: hasKey(given) ? asked.ownerId() : OPERATOR,
    names: asked.operator.names,
    filter: asked.filterOf(asked.operator.router),
    bundleFor: (_entry, bundle) => planned(bundle, given, mock, asked),
  })
  const group = groups.of(allowed, asked.model)
  // Made here, so that what is missing is said of the field that should have it.
  const members = group.members()
  const requireLeft = () => void groups.start(allowed, asked.model)
  return { group: { ...group, keys: null, members: () => members }, alone: null, requireLeft }
}

/**
 * Members that let clients set all that was given, and of those only the ones at the first one's provider and base:
 * a key is for one audience, and would otherwise be shown to whatever else stands in the group.
 */
function allowedMembers(asked: PlanContext, given: Connection, match: NameMatch<OperatorDeployment>) {
  const { credentials } = asked.split
  let refused: string | null = null
  const open = match.members.filter(({ entry }) => {
    const closed = firstRefused(entry.optIns, given, Object.keys(credentials))
    refused ??= closed
    return closed === null
  })
  const allowed = ofOneAudience(open, given, credentials)
  if (allowed.length > 0 || refused === null) return allowed
  const advice =
    'The operator opens it by `configurable_clientside_auth_params`. To use your own credentials alone, send a `user_config`.'
  throw invalid(refused, `can't be set with this value for this model, which is the operator's. ${advice}`)
}

/**
 * Members at the provider and base of the first one: a key is for one audience.
 * @throws {InvalidRequestError} when a secret among the fields is none that their provider takes.
 */
export function ofOneAudience<Entry extends Deployment>(
  members: NameMatch<Entry>['members'],
  given: Connection,
  credentials: Record<string, unknown>,
): NameMatch<Entry>['members'] {
  let audience: string | null = null
  return members.filter(({ entry, writtenModel }) => {
    const bundle = concreteBundle(entry, writtenModel)
    const provider = bundle && findProvider(bundle.provider)
    if (!bundle || !provider) return false
    const place = JSON.stringify([bundle.provider, baseFor(bundle, given)])
    audience ??= place
    if (place !== audience) return false
    refuseForeignSecrets(credentials, provider, '')
    return true
  })
}

function planned(
  bundle: CredentialBundle,
  given: Connection,
  mock: Mock | null,
  { trust }: PlanContext,
): Planned | null {
  const provider = findProvider(bundle.provider)
  if (!provider) return null
  if (!hasKey(given)) {
    if (!isCallable(bundle)) throw invalid('api_key', 'is needed: the operator has no key for this model.')
    checkPlaces(bundle, given, provider, trust)
    // Called under the operator's own name: his key has one limit and one pause, whatever a client overrides beside it.
    return mockedByWorker(
      { own: withOperatorKey(bundle, given), identity: bundle, isCompletedByOperator: true },
      mock,
    )
  }
  const own = { ...withClientKey(bundle, given), ...mock }
  if (!isMocked(own)) requireComplete(connectionOf(own), provider, '')
  if (!own.trusted_base) checkMadeBase(connectionOf(own), provider, '', trust)
  return { own, identity: own, isCompletedByOperator: false }
}

/**
 * Checks the places that a client chose beside the operator's key.
 * @throws {InvalidRequestError} when they make no address, or that of another customer, to whom the key would be shown.
 */
function checkPlaces(
  bundle: CredentialBundle,
  given: Connection,
  provider: ProviderEntry,
  trust: PlanContext['trust'],
): void {
  const apiBase = baseFor(bundle, given)
  const field = provider.placeBase?.field ?? 'api_base'
  if (apiBase === null) throw invalid(field, `is no place of provider "${provider.name}".`)
  if (apiBase === bundle.api_base) return
  if (provider.isPlacePrivate) {
    throw invalid(field, 'needs its own `api_key`: no key that stands elsewhere goes to this address.')
  }
  checkMadeBase({ apiBase, auth: { ...bundle.auth, ...given.auth } }, provider, '', trust)
}

/**
 * An operator's deployment that plays a client's test: known by another id, so that what it plays cools nobody's real one.
 */
export function mockedByWorker(real: Planned, mock: Mock | null): Planned {
  if (mock === null) return real
  return { ...real, own: { ...real.own, ...mock }, identity: { ...real.identity, mock_response: mock } }
}
