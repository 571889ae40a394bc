import type { Deployment } from './deployments.ts'
import { readDeployments } from './deployments.ts'
import { suggestion } from './did-you-mean.ts'
import { InvalidRequestError } from './errors.ts'
import type { ModelNames, NameMatch } from './model-names.ts'
import { createModelNames } from './model-names.ts'
import { invalid } from './notes.ts'
import type { PlanContext } from './plan-context.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { MadePlan } from './plan-cache.ts'
import type { ActiveRouter } from './router-settings.ts'
import { defaultFallbacks, requireKnownGroups } from './fallback-tables.ts'
import { laterGroups, noteLaterParams, noteLaterSettings, readRouter } from './router-settings.ts'
import type { UserConfig } from './schemas/user-config.ts'
import { DEPLOYMENTS_MAX } from './schemas/user-config.ts'
import { mockOf } from './request-settings.ts'
import { parseUserConfig } from './user-config.ts'

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
  const key = context.ids.fingerprint('plan', context.tenant, context.customer ?? '', context.model, text)
  const known = cache.recall(key, config)
  if (known) {
    context.notes.warnings.push(...known.notes.warnings)
    context.notes.notYetActive.push(...known.notes.notYetActive)
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

function makePlan(context: PlanContext, config: UserConfig): { made: MadePlan; sources: number[] } {
  const { split, settings, notes, ids } = context
  const router = readRouter(config, PATH, notes)
  noteLaterSettings(config, PATH, notes)
  const names = createModelNames(readList(config, context), router.aliases)
  requireKnownAliases(router, names)
  requireKnownGroups([...router.fallbacks, ...laterGroups(config, PATH)], names)
  if (settings.fallbacks) requireKnownGroups(settings.fallbacks, names)
  const mock = mockOf(split.gateway)
  const sources: number[] = []
  const made = assemblePlan(
    {
      source: 'user_config',
      ownerId: context.ownerId(),
      asked: context.model,
      start: findStart(context, names, router),
      names,
      router,
      settings,
      fallbacks: settings.disableFallbacks ? [] : (settings.fallbacks ?? router.fallbacks),
      deploymentsMax: DEPLOYMENTS_MAX,
      bundleFor: (entry, bundle) => {
        sources.push(entry.index)
        const own = mock === undefined ? bundle : { ...bundle, mock_response: mock }
        return { own, identity: own, isCompletedByOperator: false }
      },
    },
    ids,
  )
  return { made, sources }
}

function readList(config: UserConfig, context: PlanContext): Listed[] {
  const defaults = config.default_litellm_params ?? {}
  const deployments = config.model_list.flatMap((item, index) => {
    const path = `${PATH}.model_list[${index}]`
    noteLaterParams(item, path, context.notes)
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
  const asked = names.find(context.model)
  if (asked) return asked
  const substitute = context.settings.disableFallbacks ? undefined : defaultFallbacks(router.fallbacks)?.to[0]
  const start = substitute === undefined ? null : names.find(substitute)
  if (start) {
    const text = `is no model group of \`user_config\`; its default fallback "${start.group}" was used.`
    context.notes.warnings.push(`\`model\` ${text}`)
    return start
  }
  const advice = suggestion(context.model, names.groupNames)
  const message = `\`model\` is no \`model_name\` of \`user_config.model_list\`, nor the model of one of its deployments.${advice}`
  throw new InvalidRequestError(message, 'model', 'model_not_found')
}

/** Headers of a request would go to every provider of the list. */
function refuseRequestHeaders(gateway: Record<string, unknown>): void {
  for (const field of ['extra_headers', 'headers', 'default_headers', 'custom_llm_provider']) {
    if (gateway[field] === undefined) continue
    throw invalid(field, 'belongs into the `litellm_params` of a deployment when `user_config` is given.')
  }
}
