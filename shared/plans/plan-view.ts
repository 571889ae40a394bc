import { ownerOf } from '../routing/cooldown-rule.ts'
import { hopsOf } from '../routing/router.ts'
import type { Standing } from '../routing/deployment-state.ts'
import { OPERATOR } from '../settings/deployments.ts'
import { isMocked } from '../settings/mock-switches.ts'
import type { CredentialBundle, Plan, PlanDeployment, Strategy } from '../schemas/plan.ts'
import type {
  DeploymentFacts,
  FallbackOrder,
  GroupFacts,
  OperatorsDeployment,
  OwnDeployment,
  PlanView,
} from '../schemas/plan-view.ts'
import { estimateTokens } from '../routing/tokens.ts'

/** A plan to be shown to the client that asks for it. */
export type Shown = {
  model: string
  plan: Plan
  /** In the order of `plan.deployments`; null when all of them are the operator's. */
  bundles: readonly CredentialBundle[] | null
  /** For the provider. */
  body: Record<string, unknown>
  isStream: boolean
  expiresInMs: number
  warnings: string[]
  ignored: string[]
  /** The client's own key stands on entries of the operator's list: what he set there is his affair. */
  isOnOperatorsList: boolean
}

/** Whether a deployment's window holds the prompt; null: it is not known. */
type Fit = (deployment: PlanDeployment) => boolean | null

const STRATEGIES = {
  shuffle: 'simple-shuffle',
  least_busy: 'least-busy',
  usage: 'usage-based-routing-v2',
  latency: 'latency-based-routing',
  cost: 'cost-based-routing',
} as const satisfies Record<Strategy['name'], GroupFacts['strategy']>

/** How the deployments of a plan stand, by id: each owner's in one round trip, all of them at once. */
export async function readStandings(
  plan: Plan,
  read: (ownerId: string, deployments: readonly PlanDeployment[]) => Promise<Standing[]>,
): Promise<ReadonlyMap<string, Standing>> {
  const byOwner = Map.groupBy(plan.deployments, (deployment) => ownerOf(plan, deployment))
  const found = await Promise.all([...byOwner].map(([ownerId, deployments]) => read(ownerId, deployments)))
  return new Map(found.flat().map((standing) => [standing.id, standing]))
}

/**
 * A plan as its client may see it: everything of his own deployments but their secrets, and of the operator's only the
 * names and whether they are resting. The single place where that is decided.
 */
export function describePlan(shown: Shown, standings: ReadonlyMap<string, Standing>): PlanView {
  const { plan } = shown
  const nameOf = namesOf(plan)
  const fits = createFit(shown)
  const views = plan.deployments.map((deployment, index) => ({
    group: deployment.group,
    view: viewOf(shown, deployment, shown.bundles?.[index] ?? null, fits, standings.get(deployment.id)),
  }))
  const groups = Map.groupBy(views, ({ group }) => group)
  return {
    object: 'plan',
    model: shown.model,
    source: plan.source,
    group: nameOf(plan.group),
    groups: [...groups].map(([group, members]) => ({
      name: nameOf(group),
      ...groupFacts(plan, group),
      deployments: members.map(({ view }) => view),
    })),
    fallbacks: fallbackOrder(plan, nameOf, fits),
    caps: {
      max_attempts: plan.max_attempts,
      max_fallbacks: plan.max_fallbacks,
      deadline_s: shown.expiresInMs / 1000,
      timeout_s: (shown.isStream ? plan.stream_timeout_s : undefined) ?? plan.timeout_s,
    },
    estimated_tokens: estimateTokens(shown.body),
    warnings: shown.warnings,
    ignored: shown.ignored,
  }
}

function viewOf(
  { plan, isStream, isOnOperatorsList }: Shown,
  deployment: PlanDeployment,
  bundle: CredentialBundle | null,
  fits: Fit,
  standing: Standing | undefined,
): OwnDeployment | OperatorsDeployment {
  if (isOperators(plan, deployment)) return operatorsView(deployment, standing)
  const facts = deploymentFacts(plan, deployment, bundle, isStream)
  const view: OwnDeployment = {
    owner: 'client',
    ...facts,
    fits: fits(deployment),
    state: stateOf(standing),
  }
  return isOnOperatorsList ? withoutOperators(view, bundle) : view
}

/** What a job goes by on one deployment, all overrides resolved. */
export function deploymentFacts(
  plan: Plan,
  deployment: PlanDeployment,
  bundle: CredentialBundle | null,
  isStream: boolean,
): DeploymentFacts {
  const timeoutS = deployment.timeout_s ?? plan.timeout_s
  const streamTimeoutS = deployment.stream_timeout_s ?? plan.stream_timeout_s ?? timeoutS
  const policy = { ...plan.allowed_fails_policy, ...deployment.allowed_fails_policy }
  return {
    id: deployment.id,
    name: deployment.name,
    provider: deployment.provider,
    host: hostOf(bundle),
    weight: deployment.weight,
    order: deployment.order ?? null,
    num_retries: plan.request_num_retries ?? deployment.num_retries ?? retriesOf(plan, deployment.group),
    limits: {
      rpm: deployment.rpm,
      tpm: deployment.tpm,
      itpm: deployment.itpm ?? null,
      otpm: deployment.otpm ?? null,
      max_parallel: deployment.max_parallel ?? null,
    },
    timeout_s: isStream ? streamTimeoutS : timeoutS,
    cooldown: {
      disabled: plan.disable_cooldowns,
      allowed_fails: deployment.allowed_fails ?? plan.allowed_fails,
      policy: Object.keys(policy).length > 0 ? policy : null,
      cooldown_time_s: deployment.cooldown_time_s ?? plan.cooldown_time_s,
    },
    max_input_tokens: deployment.max_input_tokens ?? null,
    prices: deployment.prices ?? null,
  }
}

/** Host and port of a base that is called; nothing else of it, since its path or query may hold a secret. */
export function hostOf(bundle: CredentialBundle | null): string | null {
  if (bundle === null || bundle.api_base === null || isMocked(bundle)) return null
  return URL.parse(bundle.api_base)?.host ?? null
}

/** Strategy and retries of a group. */
export function groupFacts(plan: Plan, group: string): GroupFacts {
  const { default: _default, ...policy } = ownEntry(plan.retry_policies, group) ?? {}
  const strategy = ownEntry(plan.strategies, group)
  return {
    strategy: STRATEGIES[strategy?.name ?? 'shuffle'],
    retries: { num_retries: plan.request_num_retries ?? retriesOf(plan, group), policy },
  }
}

/** The order of the fallbacks for each reason; groups that can't hold the prompt are left out. */
export function fallbackOrder(
  plan: Plan,
  nameOf: (group: string) => string = (group) => group,
  fits: Fit = () => null,
): FallbackOrder {
  const groupFits = (name: string) =>
    plan.deployments.some((deployment) => deployment.group === name && fits(deployment) !== false)
  return {
    any_failure: hopsOf(plan, 'failure', groupFits).map(nameOf),
    context_window: hopsOf(plan, 'context', groupFits).map(nameOf),
    content_policy: hopsOf(plan, 'content', groupFits).map(nameOf),
  }
}

function retriesOf(plan: Plan, group: string): number {
  return ownEntry(plan.retry_policies, group)?.default ?? plan.num_retries
}

/** A group's own entry, else the one for all others. A group may be called `constructor`. */
function ownEntry<Value>(table: Record<string, Value> | undefined, group: string): Value | undefined {
  if (!table) return undefined
  return Object.hasOwn(table, group) ? table[group] : table['*']
}

function isOperators(plan: Plan, deployment: PlanDeployment): boolean {
  return deployment.operator_id !== undefined || ownerOf(plan, deployment) === OPERATOR
}

function operatorsView(deployment: PlanDeployment, standing: Standing | undefined): OperatorsDeployment {
  const { name, provider } = deployment
  // Not what its provider said to be left: that would tell how much others use.
  const isResting = (standing?.coolingUntil ?? null) !== null || (standing?.pausedUntil ?? null) !== null
  return { owner: 'operator', name, provider, available: !isResting }
}

/** What is the client's own where he calls an entry of the operator's list with his own key. */
function withoutOperators(view: OwnDeployment, bundle: CredentialBundle | null): OwnDeployment {
  return {
    ...view,
    host: bundle?.trusted_base === false ? view.host : null,
    weight: null,
    order: null,
    num_retries: null,
    limits: null,
    timeout_s: null,
    cooldown: null,
    max_input_tokens: null,
    fits: null,
    prices: null,
  }
}

function stateOf(standing: Standing | undefined): OwnDeployment['state'] {
  const none = { requests: 0, tokens: 0, input_tokens: 0, output_tokens: 0 }
  return {
    cooling_until: secondsOf(standing?.coolingUntil),
    paused_until: secondsOf(standing?.pausedUntil),
    rests_until: secondsOf(standing?.restsUntil),
    used: standing?.used ?? none,
    in_flight: standing?.inFlight ?? 0,
  }
}

/** Rounded up: before it nothing is called. */
function secondsOf(ms: number | null | undefined): number | null {
  return ms === null || ms === undefined ? null : Math.ceil(ms / 1000)
}

/** Names of groups as they are shown: those that are made up have a label, told apart by a number. */
function namesOf({ group_names: labels = {}, deployments }: Plan): (group: string) => string {
  const shown = new Map<string, string>()
  const seen = new Map<string, number>()
  for (const { group } of deployments) {
    if (shown.has(group)) continue
    const label = Object.hasOwn(labels, group) ? (labels[group] ?? group) : group
    const ordinal = (seen.get(label) ?? 0) + 1
    seen.set(label, ordinal)
    shown.set(group, ordinal === 1 ? label : `${label}#${ordinal}`)
  }
  return (group) => shown.get(group) ?? group
}

/** By the estimate; a fallback given as an object may bring a prompt of its own. */
function createFit({ plan, bundles, body }: Shown): Fit {
  const known = new Map<string, number>()

  function inputTokens(group: string): number {
    const isOwn = plan.rewriting_groups?.includes(group) === true
    const name = isOwn ? group : ''
    const index = isOwn ? plan.deployments.findIndex((deployment) => deployment.group === group) : -1
    const tokens = known.get(name) ?? estimateTokens({ ...body, ...bundles?.[index]?.overrides }).input
    known.set(name, tokens)
    return tokens
  }

  return ({ group, max_input_tokens: size }) => (size === undefined ? null : inputTokens(group) <= size)
}
