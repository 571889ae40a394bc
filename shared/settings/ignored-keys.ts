import { isObject } from './notes.ts'
import { isInert, refusalOf } from './refused-keys.ts'

/** Router settings that are taken and have nothing to act on here. */
export const IDLE_SETTINGS: ReadonlySet<string> = new Set([
  'client_ttl',
  'ignore_invalid_deployments',
  'polling_interval',
])
/** Switches of LiteLLM's own that a dumped deployment carries, off. */
const IDLE_PARAMS: ReadonlySet<string> = new Set([
  'max_retries',
  'merge_reasoning_content_in_choices',
  'use_chat_completions_api',
])
const IDLE_FIELDS: ReadonlySet<string> = new Set(['cache', 'enable_tag_filtering', 'max_retries'])

/**
 * JSON paths of what a completion's body was given and nothing goes by: refused keys with a value that asks for nothing
 * (with any other value they are a 400), and settings without an effect. For a body that was found good; its values are
 * not repeated.
 */
export function ignoredKeys(body: Record<string, unknown>): string[] {
  const config = body['user_config']
  const inRequest = idleIn(body, '', isIdleField)
  if (!isObject(config)) return inRequest
  const list: unknown[] = Array.isArray(config['model_list']) ? config['model_list'] : []
  const tags = Array.isArray(body['tags']) && config['enable_tag_filtering'] !== true ? ['tags'] : []
  return [
    ...inRequest,
    ...tags,
    ...idleIn(config, 'user_config.', isIdleSetting),
    ...idleIn(config['default_litellm_params'], 'user_config.default_litellm_params.', isIdleParam),
    ...list.flatMap((item, index) => idleInDeployment(item, `user_config.model_list[${index}].`)),
  ]
}

function idleInDeployment(item: unknown, path: string): string[] {
  if (!isObject(item)) return []
  const params = isObject(item['litellm_params']) ? item['litellm_params'] : {}
  return [
    ...idleIn(item, path),
    ...idleIn(params, `${path}litellm_params.`, isIdleParam),
    ...idleIn(params['model_info'], `${path}litellm_params.model_info.`),
    ...idleIn(item['model_info'], `${path}model_info.`),
  ]
}

function isIdleField(key: string): boolean {
  return IDLE_FIELDS.has(key) || key.startsWith('litellm_')
}

function isIdleSetting(key: string): boolean {
  return IDLE_SETTINGS.has(key) || key.startsWith('cache_')
}

function isIdleParam(key: string): boolean {
  return IDLE_PARAMS.has(key)
}

function idleIn(fields: unknown, path: string, isIdle?: (key: string) => boolean): string[] {
  if (!isObject(fields)) return []
  return Object.keys(fields)
    .filter((key) => {
      const value = fields[key]
      if (refusalOf(key) !== null && isInert(value, key)) return true
      return value !== null && value !== undefined && isIdle?.(key) === true
    })
    .map((key) => `${path}${key}`)
}
