import { z } from 'zod'
import { fromRow, toRow, type RowForm } from './rows.ts'
import { CredentialBundle, Plan, PlanDeployment } from '../schemas/plan.ts'

/** How a record writes its plan, and what seals the credentials of it: a job that waits has both beside its body. */

const DEPLOYMENT: RowForm<keyof PlanDeployment> = {
  names: [
    'id', 'key_id', 'group', 'provider', 'model', 'name', 'timeout_s', 'rpm', 'tpm', 'max_input_tokens', 'prices', 'weight',
    'num_retries', 'cooldown_time_s', 'allowed_fails', 'operator_id', 'owner_id', 'itpm', 'otpm', 'max_parallel', 'order',
    'stream_timeout_s', 'allowed_fails_policy',
  ],
  optional: optionalOf(PlanDeployment.shape),
  isWhole: true,
} // oxfmt-ignore

const PLAN: RowForm<keyof Plan> = {
  names: [
    'source', 'owner_id', 'group', 'deployments', 'fallbacks', 'max_fallbacks', 'num_retries', 'retry_after_s', 'timeout_s',
    'cooldown_time_s', 'max_attempts', 'disable_cooldowns', 'allowed_fails', 'request_num_retries', 'strategies',
    'context_window_fallbacks', 'content_policy_fallbacks', 'rewriting_groups', 'group_names', 'retry_policies',
    'stream_timeout_s', 'is_timeout_clients', 'allowed_fails_policy', 'checks_context', 'drop', 'first_failure', 'priority',
    'durability',
  ],
  optional: optionalOf(Plan.shape),
  isWhole: true,
} // oxfmt-ignore

const BUNDLE: RowForm<keyof CredentialBundle> = {
  names: [
    'provider', 'model', 'api_base', 'api_key', 'headers', 'params', 'trusted_base', 'api_version', 'organization',
    'azure_ad_token', 'auth', 'overrides', 'drop', 'is_operators', 'mock_timeout', 'mock_delay_s', 'mock_response',
  ],
  optional: optionalOf(CredentialBundle.shape),
  isWhole: true,
} // oxfmt-ignore

/** A plan, as text. */
export function formatPlan(plan: Plan): string {
  const deployments = plan.deployments.map((one) => {
    // Nearly always.
    const isNamedAfter = one.name === `${one.provider}/${one.model}`
    return toRow(DEPLOYMENT, isNamedAfter ? { ...one, name: null } : one)
  })
  return JSON.stringify(toRow(PLAN, { ...plan, deployments }))
}

/** The same, from its text. */
export function parsePlan(text: string): Plan {
  const plan = fromRow<Plan>(PLAN, JSON.parse(text))
  return { ...plan, deployments: plan.deployments.map((row: unknown) => parseDeployment(row)) }
}

function parseDeployment(row: unknown): PlanDeployment {
  const one = fromRow<Omit<PlanDeployment, 'name'> & { name: string | null }>(DEPLOYMENT, row)
  return { ...one, name: one.name ?? `${one.provider}/${one.model}` }
}

/** Credentials of a plan, as text. */
export function formatBundles(bundles: readonly CredentialBundle[]): string {
  return JSON.stringify(bundles.map((bundle) => toRow(BUNDLE, bundle)))
}

/** The same. @param rows Their text, parsed: numbers in them may be larger than JavaScript's. */
export function parseBundles(rows: readonly unknown[]): CredentialBundle[] {
  return rows.map((row) => fromRow<CredentialBundle>(BUNDLE, row))
}

function optionalOf<Shape extends z.core.$ZodShape>(shape: Shape): ReadonlySet<keyof Shape> {
  return new Set(Object.keys(shape).filter((name) => shape[name] instanceof z.ZodOptional))
}
