import type { Plan, PlanDeployment } from '../shared/schemas/plan.ts'

/**
 * How long one call may take, in milliseconds: a stream goes by `stream_timeout` of deployment or config where there is one,
 * everything else by `timeout`, the deployment's before the config's. A request's own stands in the plan instead of theirs.
 */
export function timeoutMsOf(plan: Plan, deployment: PlanDeployment, isStream: boolean): number {
  const plainS = deployment.timeout_s ?? plan.timeout_s
  const seconds = isStream ? (deployment.stream_timeout_s ?? plan.stream_timeout_s ?? plainS) : plainS
  return Math.max(1, seconds * 1_000)
}
