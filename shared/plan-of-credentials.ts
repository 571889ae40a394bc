import { firstRefused, withClientKey, withOperatorKey } from './clientside-auth.ts'
import type { Connection } from './connection.ts'
import {
  readConnection,
  readHeaders,
  refuseFilePaths,
  refuseForeignSecrets,
  requireComplete,
  withDefaults,
} from './connection.ts'
import type { Deployment } from './deployments.ts'
import { OPERATOR, bundleFrom, concreteBundle } from './deployments.ts'
import type { NameMatch } from './model-names.ts'
import { createModelNames } from './model-names.ts'
import { invalid } from './notes.ts'
import type { OperatorDeployment } from './operator-deployments.ts'
import { isCallable } from './operator-deployments.ts'
import type { PlanContext } from './plan-context.ts'
import type { Planned } from './plan-assembly.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { ResolvedModel } from './provider-catalog.ts'
import { findProvider, resolveModel } from './provider-catalog.ts'
import { mockOf, refuseMocks } from './request-settings.ts'
import { requireKnownGroups } from './fallback-tables.ts'
import { readRouter } from './router-settings.ts'
import type { CredentialBundle, Plan } from './schemas/plan.ts'

type PlanAndBundles = { plan: Plan; bundles: CredentialBundle[] }

const NO_SETTINGS: Deployment['settings'] = {
  weight: null,
  rpm: null,
  tpm: null,
  num_retries: null,
  timeout_s: null,
  cooldown_time_s: null,
  allowed_fails: null,
}

/**
 * The plan of a request that brings its own credentials: on the operator's deployment where that opts in, else one
 * deployment made of the request alone.
 * @throws {InvalidRequestError} with the credential's field as `param`.
 */
export function planOfCredentials(context: PlanContext): PlanAndBundles {
  const { credentials, gateway } = context.split
  const given = readConnection(credentials, '', context.trust)
  refuseFilePaths(credentials, '')
  const hasKey = given.apiKey !== null || given.azureAdToken !== null
  if (given.apiBase !== null && !hasKey) {
    const field = credentials['api_base'] === undefined ? 'base_url' : 'api_base'
    throw invalid(field, "needs its own `api_key`: no key of the operator's goes to an address of a client.")
  }
  const custom = gateway['custom_llm_provider']
  const resolved = resolveModel(context.model, {
    customProvider: typeof custom === 'string' ? custom : undefined,
    apiVersion: given.apiVersion ?? undefined,
  })
  const match = context.operator.names.find(context.model)
  const isCatchAll = match?.how === 'model' || match?.pattern === '*'
  // A bare `*`, or an upstream name that happens to be the operator's too, must not end bringing one's own key.
  if (match && !(isCatchAll && isComplete(resolved, given))) return planOnOperatorGroup(context, given, match)
  return planOfRequestAlone(context, given, resolved)
}

function isComplete(resolved: ResolvedModel, given: Connection): boolean {
  if (resolved.kind === 'unresolved') return false
  const { provider } = resolved
  if (provider.family === 'unserved' || (given.apiBase ?? provider.defaultBase) === null) return false
  return given.apiKey !== null || (provider.family === 'azure' && given.azureAdToken !== null)
}

function planOfRequestAlone(
  context: PlanContext,
  given: Connection,
  resolved: ResolvedModel,
): PlanAndBundles {
  const { gateway, credentials } = context.split
  if (resolved.kind === 'unresolved') throw invalid('model', resolved.reason)
  const { provider, model } = resolved
  const connection = withDefaults(given, provider)
  if (mockOf(gateway) === undefined) requireComplete(connection, provider, '')
  refuseForeignSecrets(credentials, provider, '')
  const bundle = bundleFrom(connection, provider.name, model, false)
  for (const field of ['default_headers', 'headers', 'extra_headers']) {
    Object.assign(bundle.headers, readHeaders(gateway[field], field, context.trust))
  }
  const deployment: Deployment = {
    group: context.model,
    writtenModel: context.model,
    customProvider: undefined,
    bundle,
    settings: NO_SETTINGS,
  }
  const members = [{ entry: deployment, writtenModel: context.model }]
  const start: NameMatch<Deployment> = { how: 'group', group: context.model, pattern: null, members }
  return assemble(context, context.ownerId(), start, (_entry, own) => ({
    own,
    identity: own,
    isCompletedByOperator: false,
  }))
}

function planOnOperatorGroup(
  context: PlanContext,
  given: Connection,
  match: NameMatch<OperatorDeployment>,
): PlanAndBundles {
  for (const field of ['extra_headers', 'headers', 'default_headers', 'custom_llm_provider']) {
    if (context.split.gateway[field] === undefined) continue
    throw invalid(field, "can't be set for a model of the operator.")
  }
  if (given.apiKey === null && given.azureAdToken === null) refuseMocks(context.split.gateway)
  const members = allowedMembers(context, given, match)
  const isOperatorsKey = given.apiKey === null && given.azureAdToken === null
  const ownerId = isOperatorsKey ? OPERATOR : context.ownerId()
  return assemble(context, ownerId, { ...match, members }, (_entry, bundle) => planned(bundle, given))
}

/**
 * Members that let clients set all that was given, and of those only the ones at the first one's provider and base:
 * a key is for one audience, and would otherwise be shown to whatever else stands in the group.
 */
function allowedMembers(context: PlanContext, given: Connection, match: NameMatch<OperatorDeployment>) {
  const { credentials } = context.split
  let refused: string | null = null
  let audience: string | null = null
  const allowed: typeof match.members = []
  for (const member of match.members) {
    const bundle = concreteBundle(member.entry, member.writtenModel)
    const provider = bundle && findProvider(bundle.provider)
    if (!bundle || !provider) continue
    const closed = firstRefused(member.entry.optIns, given, Object.keys(credentials))
    if (closed !== null) {
      refused ??= closed
      continue
    }
    const place = JSON.stringify([bundle.provider, given.apiBase ?? bundle.api_base])
    audience ??= place
    if (place !== audience) continue
    refuseForeignSecrets(credentials, provider, '')
    allowed.push(member)
  }
  if (allowed.length > 0 || refused === null) return allowed
  const advice =
    'The operator opens it by `configurable_clientside_auth_params`. To use your own credentials alone, send a `user_config`.'
  throw invalid(refused, `can't be set with this value for this model, which is the operator's. ${advice}`)
}

function planned(bundle: CredentialBundle, given: Connection): Planned | null {
  const provider = findProvider(bundle.provider)
  if (!provider) return null
  if (given.apiKey === null && given.azureAdToken === null) {
    if (!isCallable(bundle)) throw invalid('api_key', 'is needed: the operator has no key for this model.')
    // Called under the operator's own name: his key has one limit and one pause, whatever a client overrides beside it.
    return { own: withOperatorKey(bundle, given), identity: bundle, isCompletedByOperator: true }
  }
  const own = withClientKey(bundle, given)
  if (own.mock_response === undefined) {
    const connection = { ...given, apiBase: own.api_base, apiVersion: own.api_version }
    requireComplete(connection, provider, '')
  }
  return { own, identity: own, isCompletedByOperator: false }
}

/** A plan without fallbacks: every other group is the operator's, and these credentials are not for them. */
function assemble<Entry extends Deployment>(
  context: PlanContext,
  ownerId: string,
  start: NameMatch<Entry>,
  choose: (entry: Entry, bundle: CredentialBundle) => Planned | null,
): PlanAndBundles {
  const { settings, notes, ids, split } = context
  const names = createModelNames(
    start.members.map(({ entry }) => entry),
    new Map(),
  )
  if (settings.fallbacks) requireKnownGroups(settings.fallbacks, { ...names, groupNames: [start.group] })
  const mock = mockOf(split.gateway)
  return assemblePlan(
    {
      source: 'client_credentials',
      ownerId,
      asked: context.model,
      start,
      names,
      router: readRouter({}, '', notes),
      settings,
      fallbacks: [],
      deploymentsMax: start.members.length,
      bundleFor: (entry, bundle) => {
        const chosen = choose(entry, bundle)
        if (!chosen || mock === undefined) return chosen
        const own = { ...chosen.own, mock_response: mock }
        return { own, identity: own, isCompletedByOperator: false }
      },
    },
    ids,
  )
}
