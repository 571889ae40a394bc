import { withClientKey } from '../settings/clientside-auth.ts'
import type { Connection } from '../settings/connection.ts'
import {
  aloneGroup,
  hasKey,
  isCatchAll,
  isComplete,
  ofOneAudience,
  readGiven,
  resolve,
} from './credential-group.ts'
import type { Deployment } from '../settings/deployments.ts'
import { readDeployments } from '../settings/deployments.ts'
import { deploymentIds } from '../settings/deployment-ids.ts'
import { suggestion } from '../settings/did-you-mean.ts'
import { InvalidRequestError } from '../errors.ts'
import { defaultFallbacks, fallbacksOf, requireKnownGroups } from './fallback-tables.ts'
import type { ModelNames, NameMatch } from '../settings/model-names.ts'
import { createModelNames } from '../settings/model-names.ts'
import { invalid } from '../settings/notes.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { MadePlan } from './plan-cache.ts'
import type { PlanContext } from './plan-context.ts'
import type { Group, GroupSource, Planned } from './plan-groups.ts'
import { createGroups } from './plan-groups.ts'
import { createHops, refuseHeaders } from './plan-hops.ts'
import { namesGiven, planTables } from './plan-tables.ts'
import type { Mock } from '../settings/mock-switches.ts'
import { mockOf } from '../settings/mock-switches.ts'
import type { ActiveRouter } from '../settings/router-settings.ts'
import { groupsNamed, readRouter, warnOfMaxRetries } from '../settings/router-settings.ts'
import type { CredentialBundle } from '../schemas/plan.ts'
import type { UserConfig } from '../schemas/user-config.ts'
import { DEPLOYMENTS_MAX } from '../schemas/user-config.ts'
import { parseUserConfig } from '../settings/user-config.ts'

const PATH = 'user_config'

type Listed = Deployment & { /** Its entry in `model_list`. */ index: number }

/**
 * The plan of a `user_config`: made of it alone. Nothing of the operator's is in it, neither keys nor defaults.
 * @throws {InvalidRequestError}
 */
export function planOfConfig(context: PlanContext): MadePlan {
  const { gateway } = context.split
  refuseRequestHeaders(gateway)
  const config = gateway['user_config']
  const text = textOf(config)
  // Settings beside the config would have to be part of the key; they are rare, and such a plan is made anew.
  const cache = Object.keys(gateway).length === 1 ? context.cache : null
  if (!cache) return makePlan(context, parseUserConfig(config, text.length)).made
  const { tenant, customer, endpoint, model } = context
  const key = context.ids.fingerprint('plan', tenant, customer ?? '', endpoint, model, text)
  const known = cache.recall(key, config)
  if (known) {
    context.notes.warnings.push(...known.notes.warnings)
    return known
  }
  const parsed = parseUserConfig(config, text.length)
  const { made, sources } = makePlan(context, parsed)
  if (!holdsExtraBody(parsed)) cache.remember(key, { made, sources, notes: context.notes }, text.length)
  return made
}

function textOf(config: unknown): string {
  try {
    return JSON.stringify(config)
  } catch {
    // The parser takes any depth, the serializer only as much as the stack holds.
    throw invalid(PATH, 'is nested too deeply.')
  }
}

/** Whether a deployment's body parameters may hold anything, a key of its provider included. */
function holdsExtraBody({ model_list: list, default_litellm_params: defaults }: UserConfig): boolean {
  const hasExtra = list.some(({ litellm_params: params }) => params.extra_body !== undefined)
  return hasExtra || defaults?.['extra_body'] !== undefined
}

/** What a config says, whichever of its models is asked for. */
type ReadContext = Pick<PlanContext, 'trust' | 'notes'>

/**
 * Checks a `user_config` as far as that can be told before it is known which of its models is asked for.
 * @throws {InvalidRequestError}
 */
export function checkConfig(gateway: Record<string, unknown>, context: ReadContext): void {
  refuseRequestHeaders(gateway)
  const config = gateway['user_config']
  readConfig(parseUserConfig(config, textOf(config).length), context)
}

function readConfig(config: UserConfig, context: ReadContext) {
  const { notes } = context
  const router = readRouter(config, PATH, notes)
  warnOfMaxRetries(config.default_litellm_params, `${PATH}.default_litellm_params`, notes)
  const list = readList(config, context)
  const names = createModelNames(list, router.aliases, router.routingGroups)
  requireKnownAliases(router, names)
  requireKnownGroups([...fallbacksOf(router), ...groupsNamed(config, PATH)], names)
  return { router, names }
}

function makePlan(context: PlanContext, config: UserConfig): { made: MadePlan; sources: number[] } {
  const { settings, fallbacks, ids } = context
  const { router, names } = readConfig(config, context)
  requireKnownGroups(namesGiven(fallbacks), names)
  const sources: number[] = []
  const source: GroupSource<Listed> = {
    ownerId: context.ownerId(),
    names,
    filter: context.filterOf(router),
    bundleFor: (entry, bundle) => {
      sources.push(entry.index)
      return mocked(bundle, mockOf(context.split.gateway))
    },
  }
  const groups = createGroups(source)
  const hopOf = createHops(context, {
    named: (asked) => namedHop(asked, source),
    withCredentials: (asked) => credentialHop(asked, source),
  })
  const made = assemblePlan(
    {
      source: 'user_config',
      start: groups.start(findStart(context, names, router), context.model),
      find: groups.find,
      tables: planTables(router, fallbacks, settings.disableFallbacks, hopOf),
      router,
      settings,
      deploymentsMax: DEPLOYMENTS_MAX,
    },
    ids,
  )
  return { made, sources }
}

function mocked(bundle: CredentialBundle, mock: Mock | null): Planned {
  const own = mock === null ? bundle : { ...bundle, ...mock }
  return { own, identity: own, isCompletedByOperator: false }
}

/** An object without credentials is a group of the config, with the keys that stand there. */
function namedHop(asked: PlanContext, source: GroupSource<Listed>): Group {
  refuseRequestHeaders(asked.split.gateway)
  const match = source.names.find(asked.model)
  if (!match) throw modelNotFound(asked.model, source.names)
  const bundleFor = (_entry: Listed, bundle: CredentialBundle) => mocked(bundle, mockOf(asked.split.gateway))
  return createGroups({ ...source, bundleFor }).of(match, asked.model)
}

/** An object with credentials calls a group of the config with them, where they belong, or what it says itself. */
function credentialHop(asked: PlanContext, source: GroupSource<Listed>): Group {
  const { credentials, gateway } = asked.split
  const given = readGiven(asked)
  const match = source.names.find(asked.model)
  if (!match || (isCatchAll(match) && isComplete(resolve(asked, given), given))) {
    return aloneGroup(asked, given).group
  }
  refuseRequestHeaders(gateway)
  const members = hasKey(given) ? ofOneAudience(match.members, given, credentials) : match.members
  const bundleFor = (_entry: Listed, bundle: CredentialBundle) => {
    return mocked(withGiven(bundle, given), mockOf(gateway))
  }
  return createGroups({ ...source, bundleFor }).of({ ...match, members }, asked.model)
}

function withGiven(listed: CredentialBundle, given: Connection): CredentialBundle {
  if (!hasKey(given)) {
    const organization = given.organization ?? listed.organization
    return { ...listed, organization, api_version: given.apiVersion ?? listed.api_version }
  }
  const own = withClientKey(listed, given)
  // The client's own, and for this base: with another one they would be shown to a stranger.
  return given.apiBase === null ? { ...own, headers: listed.headers } : own
}

function readList(config: UserConfig, context: ReadContext): Listed[] {
  const defaults = config.default_litellm_params ?? {}
  const deployments = config.model_list.flatMap((item, index) => {
    const path = `${PATH}.model_list[${index}]`
    warnOfMaxRetries(item.litellm_params, `${path}.litellm_params`, context.notes)
    const read = readDeployments(item, defaults, path, context.trust, context.notes)
    return read.map((deployment) => ({ ...deployment, index }))
  })
  if (deployments.length <= DEPLOYMENTS_MAX) return deployments
  throw invalid(`${PATH}.model_list`, `must stand for at most ${DEPLOYMENTS_MAX} deployments.`)
}

function requireKnownAliases(router: ActiveRouter, names: ModelNames<Listed>): void {
  for (const [alias, target] of router.aliases) {
    if (names.find(target) !== null) continue
    const advice = suggestion(target, names.groupNames)
    throw invalid(`${PATH}.model_group_alias.${alias}`, `names no model group of this config.${advice}`)
  }
}

/** The group that was asked for; an unknown one starts with the first default fallback, as in LiteLLM. */
function findStart(context: PlanContext, names: ModelNames<Listed>, router: ActiveRouter): NameMatch<Listed> {
  const { model, settings, ids } = context
  const idOf = ({ bundle }: Listed) => deploymentIds(bundle, context.ownerId(), ids).id
  const asked = settings.isSpecificDeployment
    ? names.findModel(model)
    : (names.find(model) ?? names.findOwnId(model, idOf))
  if (asked) return asked
  if (settings.isSpecificDeployment) throw modelNotFound(model, names)
  const substitute = context.settings.disableFallbacks ? undefined : defaultFallbacks(router.fallbacks)?.to[0]
  const start = substitute === undefined ? null : names.find(substitute)
  if (start) {
    const text = `is no model group of \`user_config\`; its default fallback "${start.group}" was used.`
    context.notes.warnings.push(`\`model\` ${text}`)
    return start
  }
  throw modelNotFound(context.model, names)
}

function modelNotFound(model: string, names: ModelNames<Listed>): InvalidRequestError {
  const advice = suggestion(model, names.groupNames)
  const message = `\`model\` is no \`model_name\` of \`user_config.model_list\`, nor the model of one of its deployments.${advice}`
  return new InvalidRequestError(message, 'model', 'model_not_found')
}

/** Headers of a request would go to every provider of the list. */
function refuseRequestHeaders(gateway: Record<string, unknown>): void {
  refuseHeaders(gateway, 'belongs into the `litellm_params` of a deployment when `user_config` is given.')
}
