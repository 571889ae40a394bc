import type { z } from 'zod'
import { suggestion } from './did-you-mean.ts'
import type { InvalidRequestError } from './errors.ts'
import { invalid, isObject, jsonPath } from './notes.ts'
import { isInert, refusalOf, refuseHarmful, refuseReferences } from './refused-keys.ts'
import { CHAT_PARAMS, CONNECTION_FIELDS } from './schemas/field-names.ts'
import { DEPLOYMENTS_MAX, PARAM_NAMES, UserConfig, routerShape } from './schemas/user-config.ts'

/** Most characters of a `user_config` as JSON. */
export const USER_CONFIG_CHARACTERS_MAX = 256 * 1024

const ROUTER_KEYS = ['model_list', ...Object.keys(routerShape)]
const DEPLOYMENT_KEYS = ['model_name', 'litellm_params', 'model_info', 'tpm', 'rpm']
const DEFAULT_PARAM_KEYS: ReadonlySet<string> = new Set([
  ...CHAT_PARAMS,
  'extra_body',
  'extra_headers',
  'max_retries',
  'request_timeout',
  'timeout',
])

/**
 * A client's `user_config`, checked whole: size, harmful keys by name, references to the server's secrets, then the
 * strict schema. Nulls and inert values of refused keys are dropped, as in a `RouterConfig` that was dumped whole.
 * @param characters Its length as JSON.
 * @throws {InvalidRequestError} with the path of what is wrong.
 */
export function parseUserConfig(value: unknown, characters: number): UserConfig {
  const path = 'user_config'
  if (!isObject(value)) throw invalid(path, 'must be an object with a `model_list`.')
  if (characters > USER_CONFIG_CHARACTERS_MAX) {
    throw invalid(path, `must have at most ${USER_CONFIG_CHARACTERS_MAX} characters as JSON.`)
  }
  refuseReferences(value, path)
  const parsed = UserConfig.safeParse(withoutInertKeys(value, path))
  if (!parsed.success) throw describe(parsed.error, path)
  refuseForeignDefaults(parsed.data.default_litellm_params, `${path}.default_litellm_params`)
  return parsed.data
}

/** The config without nulls and inert refused keys, at each level that has keys of its own. */
function withoutInertKeys(config: Record<string, unknown>, path: string): Record<string, unknown> {
  const kept = withoutInert(config, path, true)
  if (isObject(kept['default_litellm_params'])) {
    kept['default_litellm_params'] = withoutInert(
      kept['default_litellm_params'],
      `${path}.default_litellm_params`,
    )
  }
  const list = kept['model_list']
  if (!Array.isArray(list)) return kept
  // Before each entry is looked at: a list of a million would keep the process busy.
  if (list.length > DEPLOYMENTS_MAX) {
    throw invalid(`${path}.model_list`, `must list at most ${DEPLOYMENTS_MAX} deployments.`)
  }
  kept['model_list'] = list.map((item: unknown, index) => {
    if (!isObject(item)) return item
    const itemPath = `${path}.model_list[${index}]`
    const deployment = withoutInert(item, itemPath)
    for (const key of ['litellm_params', 'model_info']) {
      const inner = deployment[key]
      if (isObject(inner)) deployment[key] = withoutInert(inner, `${itemPath}.${key}`)
    }
    return deployment
  })
  return kept
}

function withoutInert(
  object: Record<string, unknown>,
  path: string,
  isRouter = false,
): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  for (const key of Object.keys(object)) {
    const value = object[key]
    if (value === null || value === undefined) continue
    const keyPath = `${path}.${key}`
    refuseHarmful(key, value, keyPath)
    // A prefix of LiteLLM's router only: inside a deployment `cache_control` and its like are the provider's.
    if (isRouter && key.startsWith('cache_') && !isInert(value)) {
      throw invalid(keyPath, 'is refused: the gateway never shares answers between requests. Remove it.')
    }
    if (isRefusedAndInert(key, value, isRouter)) continue
    kept[key] = value
  }
  return kept
}

function isRefusedAndInert(key: string, value: unknown, isRouter: boolean): boolean {
  return isInert(value, key) && (refusalOf(key) !== null || (isRouter && key.startsWith('cache_')))
}

/** `default_litellm_params` may set body defaults and timeouts; a credential belongs to one deployment. */
function refuseForeignDefaults(defaults: Record<string, unknown> | undefined, path: string): void {
  for (const key of Object.keys(defaults ?? {})) {
    if (DEFAULT_PARAM_KEYS.has(key)) continue
    const isConnection = CONNECTION_FIELDS.some((name) => name === key)
    const advice = isConnection
      ? 'belongs into the `litellm_params` of one deployment.'
      : `is not a default that can be set here.${suggestion(key, DEFAULT_PARAM_KEYS)}`
    throw invalid(`${path}.${key}`, advice)
  }
}

/** The first finding of the schema as our error, with the nearest known name for a key that is unknown. */
function describe(error: z.ZodError, root: string): InvalidRequestError {
  const issue = error.issues[0]
  if (!issue) return invalid(root, 'is not valid.')
  const path = jsonPath(root, issue.path)
  if (issue.code !== 'unrecognized_keys') return invalid(path, `${lowerFirst(issue.message)}.`)
  const key = issue.keys[0] ?? ''
  return invalid(`${path}.${key}`, `is not a known setting.${adviceFor(key, issue.path)}`)
}

function adviceFor(key: string, path: readonly PropertyKey[]): string {
  const level = path.at(-1)
  if (level === 'litellm_params') {
    const close = suggestion(key, PARAM_NAMES)
    return close === '' ? ' Parameters that only the provider knows belong into `extra_body`.' : close
  }
  if (path.length === 2 && path[0] === 'model_list') {
    return PARAM_NAMES.has(key) ? ' It belongs into `litellm_params`.' : suggestion(key, DEPLOYMENT_KEYS)
  }
  if (path.length === 0) return suggestion(key, ROUTER_KEYS)
  return ''
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
