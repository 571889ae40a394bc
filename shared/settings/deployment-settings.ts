import { COOLDOWN_S_MAX, RETRIES_MAX, TIMEOUT_S_MAX, secondsOf } from './caps.ts'
import type { Notes } from './notes.ts'
import { capped } from './notes.ts'
import { readAllowedFails } from './retry-policies.ts'
import type { PlanDeployment } from '../schemas/plan.ts'
import type { UserDeployment } from '../schemas/user-config.ts'

/** What the router goes by; what is not set is absent or null. */
export type DeploymentSettings = Pick<
  PlanDeployment,
  | 'weight'
  | 'rpm'
  | 'tpm'
  | 'itpm'
  | 'otpm'
  | 'max_parallel'
  | 'order'
  | 'num_retries'
  | 'timeout_s'
  | 'stream_timeout_s'
  | 'cooldown_time_s'
  | 'allowed_fails'
  | 'allowed_fails_policy'
>

/** The settings of a list entry; values over a cap are lowered and named. */
export function readSettings(
  item: UserDeployment,
  defaults: Record<string, unknown>,
  path: string,
  notes: Notes,
): DeploymentSettings {
  const params = item.litellm_params
  const prefix = `${path}.litellm_params.`
  const timeout =
    params.timeout ?? params.request_timeout ?? defaults['timeout'] ?? defaults['request_timeout']
  const info = item.model_info
  const settings: DeploymentSettings = {
    weight: params.weight ?? null,
    rpm: params.rpm ?? item.rpm ?? null,
    tpm: params.tpm ?? item.tpm ?? null,
    num_retries: capped(params.num_retries, RETRIES_MAX, `${prefix}num_retries`, notes),
    timeout_s: capped(secondsOf(timeout), TIMEOUT_S_MAX, `${prefix}timeout`, notes),
    cooldown_time_s: capped(
      params.cooldown_time ?? info?.cooldown_time,
      COOLDOWN_S_MAX,
      `${prefix}cooldown_time`,
      notes,
    ),
    allowed_fails: params.allowed_fails ?? info?.allowed_fails ?? null,
  }
  const order = params.order ?? info?.order
  const stream = params.stream_timeout ?? defaults['stream_timeout']
  const streamS = capped(secondsOf(stream), TIMEOUT_S_MAX, `${prefix}stream_timeout`, notes)
  const { itpm, otpm, max_parallel_requests: parallel } = params
  // The plan is written with every job: what is not set is not in it.
  if (itpm !== undefined) settings.itpm = itpm
  if (otpm !== undefined) settings.otpm = otpm
  if (parallel !== undefined) settings.max_parallel = parallel
  if (order !== undefined) settings.order = order
  if (streamS !== null) settings.stream_timeout_s = streamS
  if (info?.allowed_fails_policy) settings.allowed_fails_policy = readAllowedFails(info.allowed_fails_policy)
  return settings
}
