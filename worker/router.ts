import type { Progress } from '../shared/claims.ts'
import type { Plan, PlanDeployment } from '../shared/schemas/plan.ts'
import type { ErrorClass } from '../shared/schemas/error-class.ts'
import type { ProviderError } from './providers/provider.ts'

/** Where a job starts: the group it asked for, nothing tried. */
export function startProgress(plan: Plan): Progress {
  return {
    group: plan.group,
    pending: fallbacksOf(plan, plan.group),
    visited: [plan.group],
    hops: 0,
    retries: 0,
    counted: 0,
    failed: [],
    dead: [],
    slot: null,
    waiting: null,
  }
}

/**
 * The deployments of the current group worth trying, best first: the one that keeps a place for this job, then those that
 * have not failed in this job, each part in weighted random order. Empty when nothing in the group can be mended.
 * @param random Uniform in [0, 1).
 */
export function orderCandidates(plan: Plan, progress: Progress, random: () => number): PlanDeployment[] {
  const members = plan.deployments.filter(
    ({ group, id }) => group === progress.group && !progress.dead.includes(id),
  )
  const shuffled = shuffleByWeight(members, random)
  const rank = ({ id }: PlanDeployment) =>
    id === progress.slot?.id ? 0 : progress.failed.includes(id) ? 2 : 1
  return shuffled.toSorted((a, b) => rank(a) - rank(b))
}

/**
 * LiteLLM's simple-shuffle over all members (theirs looks only at the first): by `weight` when any has one, else by `rpm`,
 * else by `tpm`, else uniformly. A member without the figure counts as zero and comes last, never first.
 */
export function shuffleByWeight(members: readonly PlanDeployment[], random: () => number): PlanDeployment[] {
  const figure = (['weight', 'rpm', 'tpm'] as const).find((name) =>
    members.some((member) => (member[name] ?? 0) > 0),
  )
  // Exponential sort keys (Efraimidis and Spirakis 2006): the smallest key comes first with probability by weight.
  const keyed = members.map((member) => {
    const weight = figure ? (member[figure] ?? 0) : 1
    return { member, isLast: weight <= 0, key: -Math.log(1 - random()) / (weight > 0 ? weight : 1) }
  })
  return keyed
    .toSorted((a, b) => Number(a.isLast) - Number(b.isLast) || a.key - b.key)
    .map(({ member }) => member)
}

/** Moves on to the next fallback group not yet visited; null when none is left or the hops are used up. */
export function nextGroup(plan: Plan, progress: Progress): Progress | null {
  if (progress.hops >= plan.max_fallbacks) return null
  const [group, ...rest] = progress.pending.filter((name) => !progress.visited.includes(name))
  if (group === undefined) return null
  // A fallback's own fallbacks are tried before the rest of the list it came from, as LiteLLM's recursion does.
  const pending = [...fallbacksOf(plan, group), ...rest]
  return {
    ...progress,
    group,
    pending,
    visited: [...progress.visited, group],
    hops: progress.hops + 1,
    retries: 0,
  }
}

/** What to do about a failed call, before asking whether anything is free. */
export type Verdict =
  /** Another deployment, or this one once its key is free again; costs nothing. */
  | { kind: 'move_on' }
  /** One of the retries of this group. */
  | { kind: 'retry' }
  /** This group has nothing more to give: the next fallback group. */
  | { kind: 'fall_back' }
  /** The request itself is wrong: no other deployment would take it. */
  | { kind: 'give_up' }

// A key that is refused stays refused within this job: its deployment is out, and that costs no retry.
const DEAD_CLASSES: ReadonlySet<ErrorClass> = new Set([
  'authentication',
  'payment_required',
  'permission_denied',
  'egress_refused',
])
// The provider read the request and says that it is wrong: any other would say so too.
const WRONG_REQUEST_CLASSES: ReadonlySet<ErrorClass> = new Set(['bad_request', 'unprocessable_entity'])

/** Judges a failed call by its class alone (docs/decisions/0008), and notes the deployment as failed or dead. */
export function judge(
  plan: Plan,
  progress: Progress,
  deployment: PlanDeployment,
  error: ProviderError,
): { verdict: Verdict; progress: Progress } {
  const failed = progress.failed.includes(deployment.id)
    ? progress.failed
    : [...progress.failed, deployment.id]
  const noted = { ...progress, failed, slot: null }
  if (DEAD_CLASSES.has(error.class)) {
    return { verdict: { kind: 'move_on' }, progress: { ...noted, dead: [...progress.dead, deployment.id] } }
  }
  if (error.class === 'rate_limit') return { verdict: { kind: 'move_on' }, progress: noted }
  if (WRONG_REQUEST_CLASSES.has(error.class)) return { verdict: { kind: 'give_up' }, progress: noted }
  if (!error.isRetryable) return { verdict: { kind: 'fall_back' }, progress: noted }
  const retriesMax = plan.request_num_retries ?? deployment.num_retries ?? plan.num_retries
  if (progress.retries >= retriesMax) return { verdict: { kind: 'fall_back' }, progress: noted }
  return { verdict: { kind: 'retry' }, progress: { ...noted, retries: progress.retries + 1 } }
}

/** Whether a call counts against `max_attempts`: a 429 and a dead key do not. */
export function countsAsAttempt(error: ProviderError): boolean {
  return error.class !== 'rate_limit' && !DEAD_CLASSES.has(error.class)
}

/** Failures that the client caused and that must not cool a deployment for others. */
export function isClientsMistake(plan: Plan, error: ProviderError): boolean {
  if (error.class === 'egress_refused') return true
  // Whoever sets the clock on somebody else's deployment could stop it for all with a millisecond.
  if (error.class === 'timeout' && plan.is_timeout_clients === true) return true
  const { status } = error
  // An organization or version of its own beside the operator's key: what is refused then is what it gave.
  const isOverride = plan.source === 'client_credentials' && plan.owner_id === 'operator'
  if (isOverride && (status === 401 || status === 404)) return true
  return status !== null && status >= 400 && status < 500 && ![401, 404, 408, 429].includes(status)
}

function fallbacksOf(plan: Plan, group: string): string[] {
  // A group may be called `constructor`.
  if (Object.hasOwn(plan.fallbacks, group)) return plan.fallbacks[group] ?? []
  return plan.fallbacks['*'] ?? []
}
