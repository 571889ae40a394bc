import type { Progress } from '../jobs/claims.ts'
import type { Candidate } from './deployment-state.ts'
import { OPERATOR } from '../settings/deployments.ts'
import type { ErrorClass } from '../schemas/error-class.ts'
import type { Plan, PlanDeployment } from '../schemas/plan.ts'
import { orderByStrategy, strategyOf } from './strategies.ts'

// Tiers of candidates: the place that is kept for the job, then the levels of `order`, then those that failed in it.
const FRESH_TIER = 1
const FAILED_TIER = 10_000

/** A failed call, as far as the router goes by it. */
export type FailedCall = {
  class: ErrorClass
  status: number | null
  /** Another try of the same deployment may help. */
  isRetryable: boolean
}

/** Where a job starts: the group it asked for, nothing tried. */
export function startProgress(plan: Plan): Progress {
  return {
    group: plan.group,
    pending: [],
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
 * have not failed in this job by their `order`, each tier as its strategy has it. Empty when nothing in the group can be mended.
 * @param random Uniform in [0, 1).
 */
export function orderCandidates(plan: Plan, progress: Progress, random: () => number): Candidate[] {
  const members = plan.deployments.filter(
    ({ group, id }) => group === progress.group && !progress.dead.includes(id),
  )
  const levels = [...new Set(members.map(levelOf))].toSorted((a, b) => a - b)
  const tierOf = (deployment: PlanDeployment) => {
    if (deployment.id === progress.slot?.id) return 0
    const level = levels.indexOf(levelOf(deployment))
    return level + (progress.failed.includes(deployment.id) ? FAILED_TIER : FRESH_TIER)
  }
  const candidates = orderByStrategy(strategyOf(plan, progress.group), members, random).map((deployment) => ({
    deployment,
    tier: tierOf(deployment),
  }))
  return candidates.toSorted((a, b) => a.tier - b.tier)
}

function levelOf({ order }: PlanDeployment): number {
  return order ?? Number.MAX_SAFE_INTEGER
}

/**
 * Why a group is left: its deployments failed or have nothing free, its window is too small, it refused the content, or the
 * provider calls the request wrong, which only a fallback with a prompt of its own can mend.
 */
export type LeaveReason = 'failure' | 'context' | 'content' | 'wrong_request'

/**
 * Moves on to the next fallback group not yet visited; null when none is left or the hops are used up.
 * @param fits Whether a group can hold the prompt, as far as is known; one that can't is skipped.
 */
export function nextGroup(
  plan: Plan,
  progress: Progress,
  reason: LeaveReason,
  fits: (group: string) => boolean = () => true,
): Progress | null {
  if (progress.hops >= plan.max_fallbacks) return null
  // A fallback's own fallbacks are tried before the rest of the list it came from, as LiteLLM's recursion does.
  const names = new Set([...fallbacksOf(plan, progress.group, reason), ...progress.pending])
  const open = [...names].filter((name) => !progress.visited.includes(name))
  const isMending = (name: string) =>
    reason !== 'wrong_request' || plan.rewriting_groups?.includes(name) === true
  const group = open.find((name) => isMending(name) && fits(name))
  if (group === undefined) return null
  return {
    ...progress,
    group,
    pending: open.filter((name) => name !== group),
    visited: [...progress.visited, group],
    hops: progress.hops + 1,
    retries: 0,
  }
}

/** The groups a job hops to, in order, when each group fails for this reason. */
export function hopsOf(
  plan: Plan,
  reason: Exclude<LeaveReason, 'wrong_request'>,
  fits: (group: string) => boolean,
): string[] {
  const hops: string[] = []
  let progress = nextGroup(plan, startProgress(plan), reason, fits)
  while (progress) {
    hops.push(progress.group)
    progress = nextGroup(plan, progress, reason, fits)
  }
  return hops
}

/** Whether a 200 that the content filter cut short is a failure: LiteLLM's rule, when there is a fallback made for it. */
export function isFilteredFailure(plan: Plan, group: string): boolean {
  const table = plan.content_policy_fallbacks
  if (table) return targets(table, group).length > 0
  return (plan.fallbacks['*'] ?? []).length > 0
}

function fallbacksOf(plan: Plan, group: string, reason: LeaveReason): string[] {
  const own = { context: plan.context_window_fallbacks, content: plan.content_policy_fallbacks }
  const table = reason === 'context' || reason === 'content' ? own[reason] : undefined
  return targets(table ?? plan.fallbacks, group)
}

function targets(table: Record<string, string[]>, group: string): string[] {
  // A group may be called `constructor`.
  if (Object.hasOwn(table, group)) return table[group] ?? []
  return table['*'] ?? []
}

/** What to do about a failed call, before asking whether anything is free. */
export type Verdict =
  /** Another deployment, or this one once its key is free again; costs nothing. */
  | { kind: 'move_on' }
  /** One of the retries of this group. */
  | { kind: 'retry' }
  /** This group has nothing more to give: the next fallback group. */
  | { kind: 'fall_back'; reason: LeaveReason }

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
  error: FailedCall,
): { verdict: Verdict; progress: Progress } {
  const failed = progress.failed.includes(deployment.id)
    ? progress.failed
    : [...progress.failed, deployment.id]
  const noted = { ...progress, failed, slot: null }
  const isRateLimit = error.class === 'rate_limit'
  const policy = policyOf(plan, progress.group)?.[error.class]
  if (policy !== undefined) {
    if (progress.retries >= policy) return leave(noted, reasonOf(plan, error.class))
    const kind = isRateLimit ? 'move_on' : 'retry'
    return { verdict: { kind }, progress: { ...noted, retries: progress.retries + 1 } }
  }
  if (DEAD_CLASSES.has(error.class)) {
    return { verdict: { kind: 'move_on' }, progress: { ...noted, dead: [...progress.dead, deployment.id] } }
  }
  if (isRateLimit) return { verdict: { kind: 'move_on' }, progress: noted }
  const reason = reasonOf(plan, error.class)
  if (reason !== 'failure' || !error.isRetryable) return leave(noted, reason)
  const retriesMax =
    plan.request_num_retries ??
    deployment.num_retries ??
    policyOf(plan, progress.group)?.default ??
    plan.num_retries
  if (progress.retries >= retriesMax) return leave(noted, reason)
  return { verdict: { kind: 'retry' }, progress: { ...noted, retries: progress.retries + 1 } }
}

function leave(progress: Progress, reason: LeaveReason): { verdict: Verdict; progress: Progress } {
  return { verdict: { kind: 'fall_back', reason }, progress }
}

function reasonOf(plan: Plan, errorClass: ErrorClass): LeaveReason {
  if (errorClass === 'context_window_exceeded' && plan.context_window_fallbacks) return 'context'
  if (errorClass === 'content_policy_violation' && plan.content_policy_fallbacks) return 'content'
  return WRONG_REQUEST_CLASSES.has(errorClass) ? 'wrong_request' : 'failure'
}

/** A group's own policy stands instead of the router's, whole. */
function policyOf({ retry_policies: policies }: Plan, group: string) {
  if (!policies) return undefined
  return Object.hasOwn(policies, group) ? policies[group] : policies['*']
}

/** Whether a call counts against `max_attempts`: a 429 and a dead key do not. */
export function countsAsAttempt(error: FailedCall): boolean {
  return error.class !== 'rate_limit' && !DEAD_CLASSES.has(error.class)
}

/** Failures that the client caused and that must not cool a deployment for others. */
export function isClientsMistake(plan: Plan, deployment: PlanDeployment, error: FailedCall): boolean {
  if (error.class === 'egress_refused') return true
  // Whoever sets the clock on somebody else's deployment could stop it for all with a millisecond.
  if (error.class === 'timeout' && plan.is_timeout_clients === true) return true
  const { status } = error
  // An organization or version of its own beside the operator's key: what is refused then is what it gave.
  const isOperators = (deployment.owner_id ?? plan.owner_id) === OPERATOR
  if (plan.source === 'client_credentials' && isOperators && (status === 401 || status === 404)) return true
  return status !== null && status >= 400 && status < 500 && ![401, 404, 408, 429].includes(status)
}
