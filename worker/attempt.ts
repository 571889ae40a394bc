import { bundleOf } from '../shared/settings/deployments.ts'
import { endpointAt } from '../shared/jobs/endpoints.ts'
import type { Grant } from '../shared/routing/deployment-state.ts'
import type { Attempt } from '../shared/schemas/job.ts'
import { costOf } from '../shared/routing/prices.ts'
import { responseIdOf } from '../shared/jobs/response-ids.ts'
import type { CredentialBundle, Plan, PlanDeployment } from '../shared/schemas/plan.ts'
import { plainError } from './providers/classify.ts'
import { callForResponse } from './response-id.ts'
import type { Work } from './run-record.ts'
import type { CallOutcome, Provider, ProviderError, StreamSink } from './providers/provider.ts'

/** Finds the provider family that serves a bundle. */
export type Providers = (bundle: CredentialBundle) => Provider

/** The attempt as it is noted before the call: whatever dies after this, the call stays known. */
export function openAttempt(number: number, deployment: PlanDeployment, plan: Plan, nowMs: number): Attempt {
  return {
    number,
    deployment: deployment.name,
    model_group: shownGroup(plan, deployment.group),
    provider: deployment.provider,
    started_at: nowMs,
    ended_at: null,
    outcome: 'in_flight',
    status_code: null,
    error_class: null,
    retry_after: null,
    possibly_billed: false,
    input_tokens: null,
    output_tokens: null,
    cost: null,
  }
}

/** A model group as its caller knows it: one made of a fallback object goes by that object's model. */
export function shownGroup({ group_names: names }: Plan, group: string): string {
  return (names && Object.hasOwn(names, group) ? names[group] : undefined) ?? group
}

/** The attempt as its outcome leaves it. */
export function closeAttempt(
  attempt: Attempt,
  { prices }: PlanDeployment,
  outcome: CallOutcome,
  isStopped: boolean,
  nowMs: number,
): Attempt {
  if (outcome.kind === 'reply') {
    const { status, usage } = outcome.reply
    return {
      ...attempt,
      ended_at: nowMs,
      outcome: 'completed',
      status_code: status,
      input_tokens: usage?.input_tokens ?? null,
      output_tokens: usage?.output_tokens ?? null,
      cost: costOf(usage, prices, (nowMs - attempt.started_at) / 1_000),
    }
  }
  const { error } = outcome
  return {
    ...attempt,
    ended_at: nowMs,
    outcome: isStopped ? 'aborted' : 'failed',
    status_code: error.status,
    error_class: isStopped ? null : error.class,
    retry_after: error.retryAfterMs === null ? null : error.retryAfterMs / 1000,
    possibly_billed: error.isPossiblyBilled,
  }
}

/** The call brought an answer that is passed over for what the content filter left of it. It was used, so it was charged. */
export function filteredAttempt(attempt: Attempt, error: ProviderError): Attempt {
  return { ...attempt, outcome: 'failed', error_class: error.class, possibly_billed: true }
}

/** An attempt whose worker died: nobody knows how the call ended, so it may be on the bill. */
export function loseAttempt(attempt: Attempt, nowMs: number): Attempt {
  return { ...attempt, ended_at: nowMs, outcome: 'lost', possibly_billed: true }
}

/**
 * One call of one deployment with that deployment's own credential. Never throws for what the provider or the network
 * does.
 * @param operatorBundles The operator's credentials by deployment id, from this worker's own config.yaml.
 */
export async function callDeployment(
  claim: Work,
  { deployment }: Grant,
  deps: { providers: Providers; operatorBundles: ReadonlyMap<string, CredentialBundle> },
  limits: { timeoutMs: number; signal: AbortSignal; sink: StreamSink | null },
): Promise<CallOutcome> {
  const own = claim.bundles?.[claim.plan.deployments.indexOf(deployment)]
  const bundle = bundleOf(deployment, own, deps.operatorBundles)
  if (!bundle) return { kind: 'error', error: unknownDeployment(deployment.id) }
  const endpoint = endpointAt(claim.meta.endpoint)
  if (!endpoint) return { kind: 'error', error: unknownEndpoint() }
  const { body, plan } = claim
  const call = { endpoint: endpoint.name, bundle, body, drop: plan.drop ?? null, ...limits }
  const provider = deps.providers(bundle)
  if (endpoint.name !== 'responses') return provider.call(call)
  return callForResponse(provider, call, responseIdOf(claim.id))
}

// A job made by a newer API than this worker.
function unknownEndpoint(): ProviderError {
  return plainError(
    'bad_request',
    "This worker does not know the job's endpoint. API and workers must run the same version.",
  )
}

// Refused like an address: no retry mends it, another deployment may do.
function unknownDeployment(id: string): ProviderError {
  return {
    class: 'egress_refused',
    status: null,
    message: `This worker's config.yaml has no deployment ${id}. API and workers must load the same file.`,
    type: 'server_error',
    param: null,
    code: 'unknown_deployment',
    isRetryable: false,
    retryAfterMs: null,
    isPossiblyBilled: false,
    headers: {},
  }
}
