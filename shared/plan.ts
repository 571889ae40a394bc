import { OPERATOR, concreteBundle } from './deployments.ts'
import { suggestion } from './did-you-mean.ts'
import type { EgressPolicy } from './egress.ts'
import { InvalidRequestError } from './errors.ts'
import type { Ids } from './ids.ts'
import type { NameMatch } from './model-names.ts'
import { nameFault } from './schemas/model-name.ts'
import type { Notes } from './notes.ts'
import { invalid } from './notes.ts'
import type { OperatorConfig } from './operator-config.ts'
import type { OperatorDeployment } from './operator-deployments.ts'
import { isCallable } from './operator-deployments.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { PlanCache } from './plan-cache.ts'
import type { PlanContext } from './plan-context.ts'
import { planOfConfig } from './plan-of-config.ts'
import { planOfCredentials } from './plan-of-credentials.ts'
import { findProvider } from './provider-catalog.ts'
import { readRequestSettings, refuseMocks, splitRequest } from './request-settings.ts'
import { requireKnownGroups } from './fallback-tables.ts'
import type { CredentialBundle, Plan } from './schemas/plan.ts'
import { DEPLOYMENTS_MAX } from './schemas/user-config.ts'

const MODEL_CHARACTERS_MAX = 512

export type PlanRequest = { body: Record<string, unknown>; tenant: string; customer: string | null }
export type PlanDependencies = {
  operator: OperatorConfig
  ids: Ids
  egress: EgressPolicy
  /** One for a process; without it every request is resolved anew. */
  cache?: PlanCache | null
}

export type ResolvedPlan = {
  plan: Plan
  /** In the order of `plan.deployments`; null when all of them are the operator's. */
  bundles: CredentialBundle[] | null
  /** For the provider: gateway fields taken out, `model` still the client's. */
  body: Record<string, unknown>
  model: string
  warnings: string[]
  notYetActive: string[]
}

/**
 * Makes the plan of one request: of its `user_config` alone, of its own credentials, or of the operator's models.
 * Which of them is the table "Where credentials may come from"; there is no way from the first two to an operator's key.
 * @throws {InvalidRequestError} with the JSON path of what is wrong; values are not repeated.
 */
export function resolvePlan(request: PlanRequest, dependencies: PlanDependencies): ResolvedPlan {
  const { operator, ids, egress, cache = null } = dependencies
  const { tenant, customer } = request
  const { allowedClientHosts } = operator.generalSettings
  const notes: Notes = { warnings: [], notYetActive: [] }
  const split = splitRequest(request.body)
  const context: PlanContext = {
    model: readModel(request.body['model']),
    split,
    settings: readRequestSettings(split.gateway, notes),
    notes,
    tenant,
    customer,
    ownerId: () => ids.ownerId(tenant, customer),
    trust: { kind: 'client', egress, allowedHosts: allowedClientHosts },
    operator,
    ids,
    cache,
  }
  const { plan, bundles } = choose(context)
  if (!plan.deployments.some(({ group }) => group === plan.group)) throw modelNotFound(context)
  return { plan, bundles, body: split.body, model: context.model, ...notes }
}

function readModel(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw invalid('model', 'must name a model.')
  if (value.length > MODEL_CHARACTERS_MAX) throw invalid('model', 'is too long.')
  const fault = nameFault(value)
  if (fault !== null) throw invalid('model', `${fault}.`)
  return value
}

function choose(context: PlanContext): { plan: Plan; bundles: CredentialBundle[] | null } {
  const { gateway, credentials } = context.split
  const credential = Object.keys(credentials)[0]
  const isConfigGiven = gateway['user_config'] !== undefined
  if (isConfigGiven && credential !== undefined) {
    const advice =
      "can't stand beside `user_config`: it is not clear which of them is meant. Send one of the two."
    throw new InvalidRequestError(`\`${credential}\` ${advice}`, credential, 'ambiguous_credentials')
  }
  const clientField = isConfigGiven ? 'user_config' : credential
  if (clientField === undefined) return planOfOperator(context)
  if (!context.operator.generalSettings.allowClientSideCredentials) {
    const message = `\`${clientField}\` is refused: this gateway takes no credentials from clients.`
    throw new InvalidRequestError(message, clientField, 'client_credentials_disabled')
  }
  return isConfigGiven ? planOfConfig(context) : planOfCredentials(context)
}

function planOfOperator(context: PlanContext): { plan: Plan; bundles: null } {
  const { operator, split, settings, ids } = context
  refuseMocks(split.gateway)
  for (const field of ['extra_headers', 'headers', 'default_headers', 'custom_llm_provider']) {
    if (split.gateway[field] === undefined) continue
    throw invalid(field, "can't be set for a model of the operator. Send your own credentials with it.")
  }
  const start = operator.names.find(context.model)
  if (!start) throw modelNotFound(context)
  requireAnyCallable(start)
  if (settings.fallbacks) requireKnownGroups(settings.fallbacks, operator.names)
  const { plan } = assemblePlan(
    {
      source: 'operator',
      ownerId: OPERATOR,
      asked: context.model,
      start,
      names: operator.names,
      router: operator.router,
      settings,
      fallbacks: settings.disableFallbacks ? [] : (settings.fallbacks ?? operator.router.fallbacks),
      // His own list may be longer than a client's, and is its own bound.
      deploymentsMax: Math.max(DEPLOYMENTS_MAX, operator.deployments.length),
      bundleFor: (_entry, bundle) =>
        isCallable(bundle) ? { own: bundle, identity: bundle, isCompletedByOperator: true } : null,
    },
    ids,
  )
  return { plan, bundles: null }
}

/** A group that waits for clients' keys, or for its provider to be served, can't be called without them. */
function requireAnyCallable(start: NameMatch<OperatorDeployment>): void {
  const bundles = start.members.flatMap(
    ({ entry, writtenModel }) => concreteBundle(entry, writtenModel) ?? [],
  )
  if (bundles.length === 0 || bundles.some((bundle) => isCallable(bundle))) return
  const unserved = bundles.find((bundle) => findProvider(bundle.provider)?.family === 'unserved')
  if (unserved) {
    throw invalid('model', `needs provider "${unserved.provider}", which this gateway does not serve yet.`)
  }
  throw invalid('api_key', 'is needed: the operator has no key for this model. Send your own.')
}

/** 400, as a model that OpenAI does not know would be named by its `param`. */
function modelNotFound(context: PlanContext): InvalidRequestError {
  const advice = suggestion(context.model, context.operator.names.groupNames)
  const message = `No model "${context.model.slice(0, 64)}" is configured.${advice} Send your own credentials with the request (\`api_key\`, or \`user_config\`), or use a model of GET /v1/models.`
  return new InvalidRequestError(message, 'model', 'model_not_found')
}
