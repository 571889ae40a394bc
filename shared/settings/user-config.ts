import type { z } from 'zod'
import { closestName, suggestion } from './did-you-mean.ts'
import type { InvalidRequestError } from '../errors.ts'
import { invalid, isObject, jsonPath } from './notes.ts'
import { isInert, refusalOf, refuseHarmful, refuseReferences } from './refused-keys.ts'
import { CHAT_PARAMS, CONNECTION_FIELDS } from '../schemas/field-names.ts'
import { DEPLOYMENTS_MAX, PARAM_NAMES, UserConfig, dropShape, routerShape } from '../schemas/user-config.ts'

/** Most characters of a `user_config` as JSON. */
const USER_CONFIG_CHARACTERS_MAX = 256 * 1024

const ROUTER_KEYS = ['model_list', ...Object.keys(routerShape)]
const DEPLOYMENT_KEYS = ['model_name', 'litellm_params', 'model_info', 'tpm', 'rpm']
const DEFAULT_PARAM_KEYS: ReadonlySet<string> = new Set([
  ...CHAT_PARAMS,
  ...Object.keys(dropShape),
  'extra_body',
  'extra_headers',
  'max_retries',
  'request_timeout',
  'stream_timeout',
  'timeout',
])

/** Whether `default_litellm_params` may hold it. */
export function isDefaultParam(key: string): boolean {
  return DEFAULT_PARAM_KEYS.has(key)
}

/** Switches of LiteLLM's own that a dump carries, off. */
const INERT_PARAMS = ['merge_reasoning_content_in_choices', 'use_chat_completions_api']

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
  const config = withoutInertKeys(value, path)
  const parsed = UserConfig.safeParse(config)
  if (!parsed.success) throw describe(parsed.error, path, config)
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
    const { litellm_params: params } = deployment
    if (isObject(params)) {
      const { model_info: info, ...own } = withoutInert(params, `${itemPath}.litellm_params`)
      for (const key of INERT_PARAMS) if (isInert(own[key])) delete own[key]
      deployment['litellm_params'] = own
      // LiteLLM's dump has it at both places; the one of the deployment is the nearer.
      if (isObject(info)) deployment['model_info'] ??= info
      else if (info !== undefined)
        throw invalid(`${itemPath}.litellm_params.model_info`, 'must be an object.')
    }
    const { model_info: info } = deployment
    if (isObject(info)) deployment['model_info'] = withoutInert(info, `${itemPath}.model_info`)
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
function describe(error: z.ZodError, root: string, config: Record<string, unknown>): InvalidRequestError {
  const issue = error.issues[0]
  if (!issue) return invalid(root, 'is not valid.')
  const path = jsonPath(root, issue.path)
  if (issue.code === 'unrecognized_keys') return unknownKey(issue.keys[0] ?? '', issue.path, root)
  const parents = issue.path.slice(0, -1)
  const name = issue.path.at(-1)
  const siblings = parents.reduce<unknown>((value, segment) => member(value, segment), config)
  if (!isObject(siblings) || typeof name !== 'string' || siblings[name] !== undefined) {
    return invalid(path, `${lowerFirst(issue.message)}.`)
  }
  // A required key that is missing is most often there, misspelt.
  const misspelt = Object.keys(siblings).find((key) => closestName(key, namesAt(parents)) === name)
  return misspelt === undefined ? invalid(path, 'is needed.') : unknownKey(misspelt, parents, root)
}

function unknownKey(key: string, parents: readonly PropertyKey[], root: string): InvalidRequestError {
  return invalid(`${jsonPath(root, parents)}.${key}`, `is not a known setting.${adviceFor(key, parents)}`)
}

function member(value: unknown, segment: PropertyKey): unknown {
  if (Array.isArray(value)) return value[Number(segment)]
  return isObject(value) ? value[String(segment)] : undefined
}

function namesAt(parents: readonly PropertyKey[]): Iterable<string> {
  if (parents.length === 0) return ROUTER_KEYS
  return parents.at(-1) === 'litellm_params' ? PARAM_NAMES : DEPLOYMENT_KEYS
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
