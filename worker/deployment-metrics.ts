import type { Metrics } from '../shared/metrics/registry.ts'
import { ownerOf } from '../shared/routing/cooldown-rule.ts'
import type { DeploymentState, Standing } from '../shared/routing/deployment-state.ts'
import type { Plan, PlanDeployment } from '../shared/schemas/plan.ts'

/** As many cooldowns of one process are told apart; more would be users' keys that fail by the thousand. */
const COOLDOWNS_MAX = 10_000
/** Reading how much of a limit is used takes a step of Redis of its own: one a second at most. */
const SAMPLE_EVERY_MS = 1_000
const SHARE_BUCKETS = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 1, 1.05]

/** Counts cooldowns that this process began, and shows how many of them last. */
export function createCooldownCount(metrics: Metrics) {
  const begun = metrics.counter('cooldowns_begun_total', 'Cooldowns of deployments that this worker began.')
  const now = metrics.gauge('cooldowns', 'Of these, how many last.')
  const until = new Map<string, number>()

  function forgetPast(): void {
    for (const [id, endsAt] of until) if (endsAt <= performance.now()) until.delete(id)
  }

  metrics.beforeScrape(() => {
    forgetPast()
    now.set(until.size)
  })

  return function note(deploymentId: string, coolsMs: number): void {
    const endsAt = performance.now() + coolsMs
    if ((until.get(deploymentId) ?? 0) <= performance.now()) begun.inc()
    if (until.size >= COOLDOWNS_MAX) forgetPast()
    if (until.size < COOLDOWNS_MAX || until.has(deploymentId)) until.set(deploymentId, endsAt)
  }
}

/** Samples how much of a deployment's limits is used when one that has any is about to be called, or has just been full. */
export function createLimitSamples(metrics: Metrics) {
  const shares = metrics.histogram(
    'limit_used_share',
    'Share of the limit of a deployment that is used in its minute, sampled once a second while limited ones are called.',
    ['limit'],
    SHARE_BUCKETS,
  )
  const [requests, tokens] = [shares.labels('rpm'), shares.labels('tpm')]
  let sampledAt = Number.NEGATIVE_INFINITY

  function observe({ used }: Standing, { rpm, tpm }: PlanDeployment): void {
    if (rpm !== null) requests.observe(used.requests / rpm)
    if (tpm !== null) tokens.observe(used.tokens / tpm)
  }

  return function sample(state: Pick<DeploymentState, 'read'>, plan: Plan, deployment: PlanDeployment): void {
    if (deployment.rpm === null && deployment.tpm === null) return
    if (performance.now() - sampledAt < SAMPLE_EVERY_MS) return
    sampledAt = performance.now()
    state
      .read(ownerOf(plan, deployment), [deployment])
      .then(([standing]) => standing && observe(standing, deployment))
      // Redis is away: whoever called notices.
      .catch(() => undefined)
  }
}
