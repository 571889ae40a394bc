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

/** What a plan's record says beside it, and a plan for the most part too. */
export type BesidePlan = {
  /** Tenant and customer that the job is of. */
  owner: string
  /** The model that was asked for. */
  model: string
}

/** A plan, as text: what its record says as well, or its group of each deployment, is left out. */
export function formatPlan(plan: Plan, { owner, model }: BesidePlan): string {
  const deployments = plan.deployments.map((one) =>
    toRow(DEPLOYMENT, {
      ...one,
      name: one.name === `${one.provider}/${one.model}` ? null : one.name,
      group: one.group === plan.group ? null : one.group,
    }),
  )
  const row = toRow(PLAN, {
    ...plan,
    deployments,
    owner_id: plan.owner_id === owner ? null : plan.owner_id,
    group: plan.group === model ? null : plan.group,
  })
  return JSON.stringify(row)
}

/** The same, from its text. */
export function parsePlan(text: string, { owner, model }: BesidePlan): Plan {
  const plan = fromRow<WrittenPlan>(PLAN, JSON.parse(text))
  const group = plan.group ?? model
  return {
    ...plan,
    owner_id: plan.owner_id ?? owner,
    group,
    deployments: plan.deployments.map((row) => parseDeployment(row, group)),
  }
}

type OrNull<Shape, Name extends keyof Shape> = Omit<Shape, Name> & { [Key in Name]: Shape[Key] | null }
type WrittenPlan = OrNull<Omit<Plan, 'deployments'>, 'owner_id' | 'group'> & { deployments: unknown[] }

function parseDeployment(row: unknown, planGroup: string): PlanDeployment {
  const one = fromRow<OrNull<PlanDeployment, 'name' | 'group'>>(DEPLOYMENT, row)
  const { name, group, provider, model } = one
  return { ...one, name: name ?? `${provider}/${model}`, group: group ?? planGroup }
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
