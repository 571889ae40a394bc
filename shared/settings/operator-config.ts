import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { readOperatorDeployments } from './operator-deployments.ts'
import type { OperatorDeployment } from './operator-deployments.ts'
import { OPERATOR } from './deployments.ts'
import { deploymentIds } from './deployment-ids.ts'
import { ConfigError, InvalidRequestError } from '../errors.ts'
import { fillFromEnvironment, parseYaml } from './config-text.ts'
import type { Ids } from '../ids.ts'
import { createModelNames } from './model-names.ts'
import type { Notes } from './notes.ts'
import { IDLE_SETTINGS } from './ignored-keys.ts'
import { isObject, jsonPath } from './notes.ts'
import { checkSettings, isReadSetting } from './operator-settings.ts'
import { fallbacksOf, findUnknownGroups } from '../plans/fallback-tables.ts'
import { aliasesOf, groupsNamed, readRouter, warnOfMaxRetries } from './router-settings.ts'
import { LOCATION_FIELDS } from '../schemas/field-names.ts'
import type { CredentialBundle } from '../schemas/plan.ts'
import { RouterSettings } from '../schemas/user-config.ts'
import { isDefaultParam } from './user-config.ts'

const GeneralSettings = z.object({
  master_key: z.string().min(8, 'must have at least 8 characters').nullish(),
  allow_client_side_credentials: z.boolean().nullish(),
  allowed_client_hosts: z.array(z.string().min(1)).nullish(),
  dangerously_allow_mock_testing_request_params: z.boolean().nullish(),
  ignored_settings: z.array(z.string()).nullish(),
})

/**
 * Loads an operator's `config.yaml` in LiteLLM's form. Text that is `os.environ/NAME` as a whole is replaced from
 * `environment` in the parts that are read. No file: nobody's models, everything else by default.
 * @throws {ConfigError} naming file, path and what to do.
 */
export function loadOperatorConfig(
  file: string | null,
  environment: Record<string, string | undefined>,
): OperatorConfig {
  if (file === null) return readOperatorConfig({}, environment)
  const { config, warnings } = parseYaml(readText(file), file)
  try {
    const loaded = readOperatorConfig(config, environment)
    return { ...loaded, warnings: [...warnings, ...loaded.warnings] }
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError(`${file}: ${error.message}`)
    if (error instanceof InvalidRequestError) throw new ConfigError(`${file}: ${error.message}`)
    throw error
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    throw new ConfigError(`${file} can't be read. Set GATEWAY_CONFIG to a file that can, or leave it unset.`)
  }
}

/**
 * The same from plain data: what a parsed file holds.
 * @throws {ConfigError} or {InvalidRequestError} with the path of what is wrong.
 */
export function readOperatorConfig(
  config: Record<string, unknown>,
  environment: Record<string, string | undefined>,
) {
  const notes: Notes = { warnings: [] }
  const variables = { ...environment, ...readVariables(config['environment_variables']) }
  const general = parsed(GeneralSettings, section(config, 'general_settings', variables), 'general_settings')
  notes.warnings.push(...checkSettings(config, new Set(general.ignored_settings)))
  const routerSettings = readRouterSection(config, variables)
  const router = readRouter(routerSettings, 'router_settings', notes)
  warnOfMaxRetries(routerSettings.default_litellm_params, 'router_settings.default_litellm_params', notes)
  warnOfDefaults(routerSettings.default_litellm_params, notes)
  warnOfIdle(routerSettings, notes)
  const list = config['model_list'] ?? []
  if (!Array.isArray(list)) throw new ConfigError('model_list must be a list.')
  const dropsParams = section(config, 'litellm_settings', variables)['drop_params'] === true
  const defaults = { ...(dropsParams ? { drop_params: true } : {}), ...routerSettings.default_litellm_params }
  const deployments = list.flatMap((item: unknown, index) =>
    readOperatorDeployments(fillFromEnvironment(item, `model_list[${index}]`, variables), {
      defaults,
      path: `model_list[${index}]`,
      variables,
      notes,
    }),
  )
  const names = createModelNames<OperatorDeployment>(deployments, router.aliases, router.routingGroups)
  const named = [
    ...fallbacksOf(router),
    ...groupsNamed(routerSettings, 'router_settings'),
    ...aliasesOf(router, 'router_settings'),
  ]
  const unknown = findUnknownGroups(named, names)
  notes.warnings.push(...unknown.map(({ path, what }) => `${path} ${what}`))
  return {
    deployments,
    names,
    router,
    generalSettings: {
      masterKey: general.master_key ?? null,
      allowClientSideCredentials: general.allow_client_side_credentials ?? true,
      allowedClientHosts: general.allowed_client_hosts ?? null,
      allowMockTesting: general.dangerously_allow_mock_testing_request_params ?? false,
    },
    warnings: notes.warnings,
  }
}

/** An operator's config, checked and resolved; it holds his keys, so it stays in memory. */
export type OperatorConfig = ReturnType<typeof readOperatorConfig>

function readVariables(value: unknown): Record<string, string> {
  if (!isObject(value)) return {}
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)]))
}

/** `litellm_settings` and `router_settings` as one; the latter wins, as in LiteLLM. */
function readRouterSection(config: Record<string, unknown>, variables: Record<string, string | undefined>) {
  const outer = section(config, 'litellm_settings', variables)
  const inner = section(config, 'router_settings', variables)
  const merged: Record<string, unknown> = {
    allowed_fails: outer['allowed_fails'],
    content_policy_fallbacks: outer['content_policy_fallbacks'],
    context_window_fallbacks: outer['context_window_fallbacks'],
    cooldown_time: outer['cooldown_time'],
    default_fallbacks: outer['default_fallbacks'],
    fallbacks: outer['fallbacks'],
    num_retries: outer['num_retries'],
    timeout: outer['request_timeout'],
    ...inner,
  }
  const present = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null))
  return parsed(RouterSettings, present, 'router_settings')
}

/** Defaults that no deployment reads; a client's are refused. */
function warnOfIdle(settings: Record<string, unknown>, notes: Notes): void {
  for (const key of Object.keys(settings)) {
    if (!IDLE_SETTINGS.has(key)) continue
    notes.warnings.push(`router_settings.${key} has no effect: there is nothing here for it to act on.`)
  }
}

function warnOfDefaults(defaults: Record<string, unknown> = {}, notes: Notes): void {
  for (const key of Object.keys(defaults)) {
    if (isDefaultParam(key) || LOCATION_FIELDS.some((name) => name === key)) continue
    notes.warnings.push(`router_settings.default_litellm_params.${key} has no effect.`)
  }
}

function section(
  config: Record<string, unknown>,
  name: string,
  variables: Record<string, string | undefined>,
): Record<string, unknown> {
  const value = config[name] ?? {}
  if (!isObject(value)) throw new ConfigError(`${name} must be a mapping.`)
  const read = Object.fromEntries(Object.entries(value).filter(([key]) => isReadSetting(name, key)))
  const resolved = fillFromEnvironment(read, name, variables)
  return isObject(resolved) ? resolved : {}
}

function parsed<Shape extends z.ZodType>(schema: Shape, value: unknown, path: string): z.infer<Shape> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const lines = result.error.issues.map((issue) => `  ${jsonPath(path, issue.path)}: ${issue.message}`)
  throw new ConfigError(`the config holds what can't be used:\n${lines.join('\n')}`)
}

/**
 * The bundles a worker calls the operator's deployments with, by `PlanDeployment.operator_id`. API and workers
 * compute the same ids from the same file, environment and id secret.
 */
export function operatorBundles(config: OperatorConfig, ids: Ids): Map<string, CredentialBundle> {
  return new Map(
    config.deployments.map(({ bundle }) => [deploymentIds(bundle, OPERATOR, ids).id, bundle] as const),
  )
}

/** The operator's model groups and routing groups; wildcards as they are written. */
export function operatorGroupNames({ names, router }: OperatorConfig): string[] {
  return [...names.groupNames, ...router.routingGroups.map(({ name }) => name)]
}

/** The same and the aliases that are not hidden, for `GET /v1/models`. */
export function operatorModelNames(config: OperatorConfig): string[] {
  const { aliases, hiddenAliases } = config.router
  const visible = [...aliases.keys()].filter((alias) => !hiddenAliases.has(alias))
  return [...new Set([...operatorGroupNames(config), ...visible])]
}
