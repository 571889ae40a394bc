import type { Deployment } from './deployments.ts'
import { OPERATOR, concreteBundle, deploymentIds } from './deployments.ts'
import type { Ids } from './ids.ts'
import type { ModelNames, NameMatch } from './model-names.ts'
import { invalid } from './notes.ts'
import type { RequestSettings } from './request-settings.ts'
import type { FallbackEntry } from './fallback-tables.ts'
import type { ActiveRouter } from './router-settings.ts'
import { defaultFallbacks, ownFallbacks } from './fallback-tables.ts'
import type { CredentialBundle, Plan, PlanDeployment } from './schemas/plan.ts'

/** Calls of a job in all, unless the job says otherwise. */
export const ATTEMPTS_MAX_DEFAULT = 12

/** What a plan is made of once names are resolved and everything is checked. */
export type PlanParts<Entry extends Deployment> = {
  source: Plan['source']
  ownerId: string
  /** The model as the request names it; an alias may have fallbacks of its own. */
  asked: string
  start: NameMatch<Entry>
  names: ModelNames<Entry>
  router: ActiveRouter
  settings: RequestSettings
  fallbacks: FallbackEntry[]
  /** Most deployments the plan may hold. */
  deploymentsMax: number
  /** The bundle a member is called with; null leaves the member out. */
  bundleFor: (entry: Entry, bundle: CredentialBundle) => Planned | null
}

/**
 * What a member is called with. `own` goes with the job; `identity` is who is called, for ids, and is the operator's
 * deployment when the worker adds his secrets (`isCompletedByOperator`).
 */
export type Planned = { own: CredentialBundle; identity: CredentialBundle; isCompletedByOperator: boolean }

/**
 * Builds a plan of the group that was asked for and of every group its fallbacks can reach: what can't be reached is
 * not carried along, and neither are its credentials. Bundles stand in the order of the plan's deployments.
 */
export function assemblePlan<Entry extends Deployment>(
  parts: PlanParts<Entry>,
  ids: Ids,
): { plan: Plan; bundles: CredentialBundle[] } {
  const { router, settings } = parts
  const reached = reachGroups(parts)
  const deployments: PlanDeployment[] = []
  const bundles: CredentialBundle[] = []
  for (const group of reached.groups.values()) {
    for (const [deployment, bundle] of planGroup(parts, group, ids)) {
      deployments.push(deployment)
      bundles.push(bundle)
    }
  }
  const plan: Plan = {
    source: parts.source,
    owner_id: parts.ownerId,
    group: parts.start.group,
    deployments,
    fallbacks: reached.fallbacks,
    max_fallbacks: settings.maxFallbacks ?? router.maxFallbacks,
    request_num_retries: settings.numRetries,
    num_retries: router.numRetries,
    retry_after_s: router.retryAfterS,
    timeout_s: settings.timeoutS ?? router.timeoutS,
    allowed_fails: router.allowedFails,
    cooldown_time_s: router.cooldownTimeS,
    disable_cooldowns: router.disableCooldowns,
    max_attempts: ATTEMPTS_MAX_DEFAULT,
  }
  if (parts.ownerId === OPERATOR && settings.timeoutS !== null) plan.is_timeout_clients = true
  return { plan, bundles }
}

/** Groups in the order they are reached, and fallbacks by the names the plan uses. */
function reachGroups<Entry extends Deployment>(parts: PlanParts<Entry>) {
  const groups = new Map([[parts.start.group, parts.start]])
  // Group names are free text: `constructor` is one, and must not be found where nobody put it.
  const fallbacks: Record<string, string[]> = Object.create(null)
  let members = parts.start.members.length

  function targets({ to, path }: FallbackEntry): string[] {
    const found = new Set<string>()
    for (const name of to) {
      const match = parts.names.find(name)
      if (!match) continue
      found.add(match.group)
      if (groups.has(match.group)) continue
      groups.set(match.group, match)
      members += match.members.length
      // A wildcard makes a group of every name: without a bound the list of names would be the size of the plan.
      if (members > parts.deploymentsMax) {
        throw invalid(path, `leads to more than ${parts.deploymentsMax} deployments in all.`)
      }
    }
    return [...found]
  }

  const others = defaultFallbacks(parts.fallbacks)
  // The map grows while it is walked: a group added by a fallback is walked in its turn.
  for (const [group, { pattern }] of groups) {
    const own = ownFallbacks(
      parts.fallbacks,
      [group === parts.start.group ? parts.asked : group, group, pattern].filter((name) => name !== null),
    )
    if (own) fallbacks[group] = targets(own)
    else if (others) fallbacks['*'] ??= targets(others)
  }
  return { groups, fallbacks }
}

function planGroup<Entry extends Deployment>(
  parts: PlanParts<Entry>,
  match: NameMatch<Entry>,
  ids: Ids,
): [PlanDeployment, CredentialBundle][] {
  const planned: [PlanDeployment, CredentialBundle][] = []
  const seen = new Map<string, number>()
  for (const { entry, writtenModel } of match.members) {
    const concrete = concreteBundle(entry, writtenModel)
    const chosen = concrete && parts.bundleFor(entry, concrete)
    if (!chosen) continue
    const { own, identity } = chosen
    const { id, keyId } = deploymentIds(identity, parts.ownerId, ids)
    const ordinal = (seen.get(id) ?? 0) + 1
    seen.set(id, ordinal)
    const name = `${identity.provider}/${identity.model}`
    const deployment: PlanDeployment = {
      id,
      key_id: keyId,
      group: match.group,
      // Twins of a list are one deployment: they share id and state, and are told apart by name only.
      name: ordinal === 1 ? name : `${name}#${ordinal}`,
      provider: identity.provider,
      model: identity.model,
      ...entry.settings,
      // A timeout of the request wins over each deployment's own.
      timeout_s: parts.settings.timeoutS === null ? entry.settings.timeout_s : null,
    }
    if (chosen.isCompletedByOperator) {
      const isItself = parts.ownerId === OPERATOR && identity === entry.bundle
      deployment.operator_id = isItself ? id : deploymentIds(entry.bundle, OPERATOR, ids).id
    }
    planned.push([deployment, own])
  }
  return planned
}
