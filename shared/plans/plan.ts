import { requireAsked, requireEndpoint, requirePlanned, type Allowed } from '../tenants/allowed.ts'
import { createFilter } from './deployment-filters.ts'
import type { EgressPolicy } from '../egress.ts'
import { endpointNamed, type EndpointName } from '../jobs/endpoints.ts'
import { InvalidRequestError } from '../errors.ts'
import type { Ids } from '../ids.ts'
import {
  expandCredentials,
  namesCredential,
  NONE_NAMED,
  type NamedCredentials,
} from '../credentials/named-credentials.ts'
import type { Notes } from '../settings/notes.ts'
import { invalid } from '../settings/notes.ts'
import type { OperatorConfig } from '../settings/operator-config.ts'
import type { PlanCache } from './plan-cache.ts'
import type { PlanContext } from './plan-context.ts'
import { planOfConfig } from './plan-of-config.ts'
import { planOfCredentials } from './plan-of-credentials.ts'
import { modelNotFound, planOfOperator } from './plan-of-operator.ts'
import { readRequestFallbacks } from './request-fallbacks.ts'
import { takePlaces } from '../settings/request-places.ts'
import type { SplitRequest } from '../settings/request-settings.ts'
import { readRequestSettings, splitRequest } from '../settings/request-settings.ts'
import { nameFault } from '../schemas/model-name.ts'
import type { CredentialBundle, Plan } from '../schemas/plan.ts'

const MODEL_CHARACTERS_MAX = 512

export type PlanRequest = {
  body: Record<string, unknown>
  tenant: string
  customer: string | null
  /** What the body is a request of; a chat completion unless it says otherwise. */
  endpoint?: EndpointName
  /** What the gateway key of the request may ask for; anything unless it says otherwise. */
  allowed?: Allowed | undefined
  /** What was stored of the credentials that the body names by id: those of its tenant. */
  named?: NamedCredentials | undefined
}
export type PlanDependencies = {
  operator: OperatorConfig
  ids: Ids
  egress: EgressPolicy
  /** One for a process; without it every request is resolved anew. */
  cache?: PlanCache | null
}

export type ResolvedPlan = {
  plan: Plan
  /** In the order of `plan.deployments`; null when all of them are the operator's as they stand in his file. */
  bundles: CredentialBundle[] | null
  /** For the provider: gateway fields taken out, `model` still the client's. */
  body: Record<string, unknown>
  model: string
  warnings: string[]
}

/**
 * Makes the plan of one request: of its `user_config` alone, of its own credentials, or of the operator's models.
 * Which of them is the table "Where credentials may come from"; there is no way from the first two to an operator's key.
 * @throws {InvalidRequestError} with the JSON path of what is wrong; values are not repeated.
 * @throws {NotAllowedError} for what the request's gateway key may not ask for, be it there or not.
 * @throws {CredentialNotFoundError} for a stored credential that is not there, or another customer's.
 */
export function resolvePlan(request: PlanRequest, dependencies: PlanDependencies): ResolvedPlan {
  if (!namesCredential(request.body)) return resolveGiven(request, dependencies)
  const { body, stored, told } = expandCredentials(
    request,
    request.named ?? NONE_NAMED,
    dependencies.operator,
  )
  const resolved = told(() => resolveGiven({ ...request, body }, dependencies))
  const forProvider = Object.entries(resolved.body).filter(([name]) => !stored.has(name))
  return { ...resolved, body: Object.fromEntries(forProvider) }
}

/** The same of a request whose credentials all stand in it. */
function resolveGiven(request: PlanRequest, dependencies: PlanDependencies): ResolvedPlan {
  const { operator, ids, egress, cache = null } = dependencies
  const { tenant, customer, endpoint = 'chat', allowed } = request
  const { allowedClientHosts } = operator.generalSettings
  const notes: Notes = { warnings: [] }
  if (allowed) requireEndpoint(allowed, endpointNamed(endpoint).path)
  const written = splitRequest(request.body)
  const model = readModel(request.body['model'])
  // Deployments of a config have their own places.
  const isConfigGiven = written.gateway['user_config'] !== undefined
  const split = isConfigGiven ? written : takePlaces(written, model, operator)
  const settings = readRequestSettings(split.gateway, notes)
  const fallbacks = readRequestFallbacks(split.gateway)
  if (allowed && !isConfigGiven) requireAsked(allowed, model, fallbacks)
  const context: PlanContext = {
    model,
    endpoint,
    split,
    settings,
    fallbacks,
    filterOf: (router) => createFilter(router, settings, endpoint),
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
  if (allowed && isConfigGiven) requirePlanned(allowed, plan)
  if (!plan.deployments.some(({ group }) => group === plan.group)) throw modelNotFound(context, context.model)
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
  const source = sourceOf(context.split, context.operator)
  if (source === 'operator') return planOfOperator(context)
  return source === 'user_config' ? planOfConfig(context) : planOfCredentials(context)
}

/**
 * Whose credentials a request is to be called with.
 * @throws {InvalidRequestError} when it brings two kinds, or some where clients may bring none.
 */
export function sourceOf(
  { gateway, credentials }: Pick<SplitRequest, 'gateway' | 'credentials'>,
  operator: OperatorConfig,
): 'operator' | 'user_config' | 'client_credentials' {
  const credential = Object.keys(credentials)[0]
  const isConfigGiven = gateway['user_config'] !== undefined
  if (isConfigGiven && credential !== undefined) {
    const advice =
      "can't stand beside `user_config`: it is not clear which of them is meant. Send one of the two."
    throw new InvalidRequestError(`\`${credential}\` ${advice}`, credential, 'ambiguous_credentials')
  }
  const clientField = isConfigGiven ? 'user_config' : credential
  if (clientField === undefined) return 'operator'
  if (!operator.generalSettings.allowClientSideCredentials) {
    const message = `\`${clientField}\` is refused: this gateway takes no credentials from clients.`
    throw new InvalidRequestError(message, clientField, 'client_credentials_disabled')
  }
  return isConfigGiven ? 'user_config' : 'client_credentials'
}
