import type { Deployment } from './deployments.ts'
import { readDeployments } from './deployments.ts'
import { suggestion } from './did-you-mean.ts'
import { InvalidRequestError } from './errors.ts'
import type { ModelNames, NameMatch } from './model-names.ts'
import { createModelNames } from './model-names.ts'
import { invalid } from './notes.ts'
import type { PlanContext } from './plan.ts'
import { assemblePlan } from './plan-assembly.ts'
import type { ActiveRouter } from './router-settings.ts'
import {
  defaultFallbacks,
  noteLaterParams,
  noteLaterSettings,
  readRouter,
  requireKnownGroups,
} from './router-settings.ts'
import type { CredentialBundle, Plan } from './schemas/plan.ts'
import type { UserConfig } from './schemas/user-config.ts'
import { DEPLOYMENTS_MAX } from './schemas/user-config.ts'
import { mockOf } from './request-settings.ts'
import { parseUserConfig } from './user-config.ts'

const PATH = 'user_config'

/**
 * The plan of a `user_config`: made of it alone. Nothing of the operator's is in it, neither keys nor defaults.
 * @throws {InvalidRequestError}
 */
export function planOfConfig(context: PlanContext): { plan: Plan; bundles: CredentialBundle[] } {
  const { split, settings, notes, ids } = context
  refuseRequestHeaders(split.gateway)
  const config = parseUserConfig(split.gateway['user_config'], PATH)
  const router = readRouter(config, PATH, notes)
  noteLaterSettings(config, PATH, notes)
  const names = createModelNames(readList(config, context), router.aliases)
  requireKnownAliases(router, names)
  requireKnownGroups(router.fallbacks, names)
  if (settings.fallbacks) requireKnownGroups(settings.fallbacks, names)
  const fallbacks = settings.disableFallbacks ? [] : (settings.fallbacks ?? router.fallbacks)
  const mock = mockOf(split.gateway)
  return assemblePlan(
    {
      source: 'user_config',
      ownerId: context.ownerId,
      start: findStart(context, names, router),
      names,
      router,
      settings,
      fallbacks,
      bundleFor: (_entry, bundle) => {
        const own = mock === undefined ? bundle : { ...bundle, mock_response: mock }
        return { own, identity: own, isCompletedByOperator: false }
      },
    },
    ids,
  )
}

function readList(config: UserConfig, context: PlanContext): Deployment[] {
  const defaults = config.default_litellm_params ?? {}
  const deployments = config.model_list.flatMap((item, index) => {
    const path = `${PATH}.model_list[${index}]`
    noteLaterParams(item, path, context.notes)
    return readDeployments(item, defaults, path, context.trust, context.notes)
  })
  if (deployments.length <= DEPLOYMENTS_MAX) return deployments
  throw invalid(`${PATH}.model_list`, `must stand for at most ${DEPLOYMENTS_MAX} deployments.`)
}

function requireKnownAliases(router: ActiveRouter, names: ModelNames<Deployment>): void {
  for (const [alias, target] of router.aliases) {
    if (names.find(target) !== null) continue
    const advice = suggestion(target, names.groupNames)
    throw invalid(`${PATH}.model_group_alias.${alias}`, `names no model group of this config.${advice}`)
  }
}

/** The group that was asked for; an unknown one starts with the first default fallback, as in LiteLLM. */
function findStart(
  context: PlanContext,
  names: ModelNames<Deployment>,
  router: ActiveRouter,
): NameMatch<Deployment> {
  const asked = names.find(context.model)
  if (asked) return asked
  const substitute = context.settings.disableFallbacks ? undefined : defaultFallbacks(router.fallbacks)[0]
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
