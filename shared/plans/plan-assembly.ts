import { OPERATOR } from '../settings/deployments.ts'
import { deploymentIds } from '../settings/deployment-ids.ts'
import type { FallbackEntry } from './fallback-tables.ts'
import { defaultFallbacks, exactFallbacks, ownFallbacks } from './fallback-tables.ts'
import type { Ids } from '../ids.ts'
import { invalid } from '../settings/notes.ts'
import type { Group, Member } from './plan-groups.ts'
import { modelFacts } from '../settings/model-facts.ts'
import { planSettings, settingsOf } from './plan-settings.ts'
import type { PlanTable, PlanTables } from './plan-tables.ts'
import type { RequestSettings } from '../settings/request-settings.ts'
import type { ActiveRouter } from '../settings/router-settings.ts'
import type { CredentialBundle, Plan, PlanDeployment } from '../schemas/plan.ts'

/** Calls of a job in all, unless the job says otherwise. */
export const ATTEMPTS_MAX_DEFAULT = 12

/** What a plan is made of once names are resolved and everything is checked. */
export type PlanParts = {
  source: Plan['source']
  start: Group
  /** Groups by the names that fallbacks give; null: there is none, and the name is left out. */
  find: (name: string) => Group | null
  tables: PlanTables
  router: ActiveRouter
  settings: RequestSettings
  /** Most deployments the plan may hold. */
  deploymentsMax: number
}

type Reached = { group: Group; members: Member[] }

/**
 * Builds a plan of the group that was asked for and of every group its fallbacks can reach: what can't be reached is
 * not carried along, and neither are its credentials. Bundles stand in the order of the plan's deployments.
 */
export function assemblePlan(parts: PlanParts, ids: Ids): { plan: Plan; bundles: CredentialBundle[] } {
  const { router, settings, start } = parts
  const { groups, tables } = reachGroups(parts)
  const planned = groups.flatMap((reached) => planGroup(parts, reached, ids))
  const plan: Plan = {
    source: parts.source,
    owner_id: start.ownerId,
    group: start.name,
    deployments: planned.map(([deployment]) => deployment),
    ...tables,
    ...hopFacts(groups),
    ...planSettings(
      router,
      settings,
      groups.map(({ group: { name, keys } }) => ({ name, names: keys ?? [] })),
    ),
    max_attempts: ATTEMPTS_MAX_DEFAULT,
  }
  const isClientsClock = ({ ownerId, hop }: Group) =>
    ownerId === OPERATOR &&
    ((settings.timeoutS ?? settings.streamTimeoutS) !== null ||
      (hop !== null && (hop.timeoutS ?? hop.streamTimeoutS) !== null))
  if (groups.some(({ group }) => isClientsClock(group))) plan.is_timeout_clients = true
  return { plan, bundles: planned.map(([, bundle]) => bundle) }
}

/** Groups in the order they are reached, and fallbacks by the names the plan uses. */
function reachGroups(parts: PlanParts) {
  const reached = new Map<string, Reached>()
  const empty = new Set<string>()
  let count = 0

  function enter(group: Group, path: string): boolean {
    if (reached.has(group.name)) return true
    if (empty.has(group.name)) return false
    const members = group.members()
    if (members.length === 0 && group !== parts.start) {
      empty.add(group.name)
      return false
    }
    reached.set(group.name, { group, members })
    count += members.length
    // A wildcard makes a group of every name: without a bound the list of names would be the size of the plan.
    if (count > parts.deploymentsMax) {
      throw invalid(path, `leads to more than ${parts.deploymentsMax} deployments in all.`)
    }
    return true
  }

  function targets(to: (string | Group)[], path: string): string[] {
    const found = new Set<string>()
    for (const target of to) {
      const group = typeof target === 'string' ? parts.find(target) : target
      if (group && enter(group, path)) found.add(group.name)
    }
    return [...found]
  }

  const fillers = createFillers(parts.tables, parts.start, targets)
  enter(parts.start, 'model')
  // The map grows while it is walked: a group added by a fallback is walked in its turn.
  for (const { group } of reached.values()) for (const { fill } of fillers) fill(group)
  const tables = { fallbacks: {}, ...Object.fromEntries(fillers.map(({ name, table }) => [name, table])) }
  return { groups: [...reached.values()], tables }
}

type Lookup = (entries: readonly FallbackEntry[], names: readonly string[]) => FallbackEntry | null
type Targets = (to: (string | Group)[], path: string) => string[]

/** For each table of the plan what puts the fallbacks of one group into it. */
function createFillers(
  { fallbacks, contextWindow, contentPolicy }: PlanTables,
  start: Group,
  targets: Targets,
) {
  const filler = (name: string, { entries, ofStart }: PlanTable, lookup: Lookup) => {
    // Group names are free text: `constructor` is one, and must not be found where nobody put it.
    const table: Record<string, string[]> = Object.create(null)
    const others = defaultFallbacks(entries)

    function fill({ name: group, keys }: Group): void {
      const own = keys && lookup(entries, keys)
      if (ofStart && group === start.name) table[group] = targets(ofStart.to, ofStart.path)
      else if (own) table[group] = targets(own.to, own.path)
      else if (others && keys) table['*'] ??= targets(others.to, others.path)
      else if (others) table[group] = []
    }

    return { name, table, fill }
  }
  return [
    filler('fallbacks', fallbacks, ownFallbacks),
    ...(contextWindow ? [filler('context_window_fallbacks', contextWindow, exactFallbacks)] : []),
    ...(contentPolicy ? [filler('content_policy_fallbacks', contentPolicy, exactFallbacks)] : []),
  ]
}

/** What a plan says of groups that are made of objects; nothing when it has none. */
function hopFacts(groups: readonly Reached[]): Pick<Plan, 'group_names' | 'rewriting_groups'> {
  const hops = groups.flatMap(({ group: { name, hop } }) => (hop ? [{ name, hop }] : []))
  const rewriting = hops.filter(({ hop }) => hop.isRewriting).map(({ name }) => name)
  return {
    ...(hops.length > 0 && {
      group_names: Object.fromEntries(hops.map(({ name, hop }) => [name, hop.label])),
    }),
    ...(rewriting.length > 0 && { rewriting_groups: rewriting }),
  }
}

function planGroup(
  { start, settings, router }: PlanParts,
  { group, members }: Reached,
  ids: Ids,
): [PlanDeployment, CredentialBundle][] {
  const { ownerId, hop } = group
  const seen = new Map<string, number>()
  return members.map((member) => {
    const { entry, own, identity, order } = member
    const { id, keyId } = deploymentIds(identity, ownerId, ids)
    const ordinal = (seen.get(id) ?? 0) + 1
    seen.set(id, ordinal)
    const name = `${identity.provider}/${identity.model}`
    const deployment: PlanDeployment = {
      id,
      key_id: keyId,
      group: group.name,
      // Twins of a list are one deployment: they share id and state, and are told apart by name only.
      name: ordinal === 1 ? name : `${name}#${ordinal}`,
      provider: identity.provider,
      model: identity.model,
      // What the operator sets for his own deployments is no limit of a client's.
      ...settingsOf(entry, ownerId === start.ownerId ? router : { ...router, maxParallel: null }, settings),
      ...modelFacts(entry, identity),
    }
    if (hop && hop.timeoutS !== null) deployment.timeout_s = hop.timeoutS
    if (ownerId !== start.ownerId) deployment.owner_id = ownerId
    if (order !== undefined) deployment.order = order
    if (hop && hop.streamTimeoutS !== null) deployment.stream_timeout_s = hop.streamTimeoutS
    if (member.isCompletedByOperator) {
      const isItself = ownerId === OPERATOR && identity === entry.bundle
      deployment.operator_id = isItself ? id : deploymentIds(entry.bundle, OPERATOR, ids).id
    }
    return [deployment, own]
  })
}
