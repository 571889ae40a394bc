import { ConfigError } from '../errors.ts'
import { isObject } from './notes.ts'
import { isInert } from './refused-keys.ts'
import { routerShape } from '../schemas/user-config.ts'

/** Settings that are read, by section. */
const KNOWN: Readonly<Record<string, ReadonlySet<string>>> = {
  general_settings: new Set([
    'master_key',
    'allow_client_side_credentials',
    'allowed_client_hosts',
    'dangerously_allow_mock_testing_request_params',
    'ignored_settings',
  ]),
  litellm_settings: new Set([
    'allowed_fails',
    'content_policy_fallbacks',
    'context_window_fallbacks',
    'cooldown_time',
    'default_fallbacks',
    'drop_params',
    'fallbacks',
    'num_retries',
    'request_timeout',
  ]),
  router_settings: new Set(Object.keys(routerShape)),
}

/**
 * Names that speak of a restriction: of who may call, from where, what may be said, how much may be spent. Matched
 * against settings we do not know, so that one that LiteLLM adds tomorrow stops the start too.
 */
const RESTRICTING =
  /auth|jwt|sso|oauth|guardrail|budget|allowed_|allowlist|whitelist|denied|denylist|blocked|blacklist|banned|block_|enforce|restrict|reject|disallow|permission|role|only_|_only|_limit|limit_|max_request|max_response|max_parallel|max_file|upperbound|prompt_injection|moderation|hide_secret|presidio|supported_environments|team_id|access_group|(?:pre|post)_call_rules|disable_llm|_disabled$|service_account|key_generat|^polic(?:y|ies)|^include$/

/** Defaults for users and teams: a restriction when one of their own names is. */
const RESTRICTING_BY_CONTENT = new Set([
  'default_internal_user_params',
  'default_team_params',
  'default_team_settings',
])

/** Settings that sound like a restriction and are none. */
const HARMLESS = new Set([
  'database_connection_pool_limit',
  'disable_reset_budget',
  'disable_retry_on_max_parallel_request_limit_error',
  'rate_limit_response_headers',
  'proxy_budget_rescheduler_max_time',
  'proxy_budget_rescheduler_min_time',
])

/** Callbacks that refuse or change requests; one of the operator's own (`module.instance`) may do so too. */
const RESTRICTING_CALLBACK =
  /\.|moderation|guard|presidio|hide_secret|banned|blocked|lakera|prompt_injection|content_safety|aporia|limiter|budget/

/**
 * Refuses to start over a setting that restricts something and has no effect here, unless it is listed under
 * `general_settings.ignored_settings` by its name or its path. Other unknown settings are returned as warnings.
 * @throws {ConfigError} naming all of them.
 */
export function checkSettings(config: Record<string, unknown>, ignored: ReadonlySet<string>): string[] {
  const unknown = collectUnknown(config).filter(
    ({ path, name }) =>
      !ignored.has(path) && !ignored.has(name) && !ignored.has(path.replaceAll(/\[\d+\]/g, '')),
  )
  const restricting = unknown.filter(({ path, name, value }) => isRestricting(path, name, value))
  if (restricting.length > 0) {
    const list = restricting.map(({ path }) => `  ${path}`).join('\n')
    throw new ConfigError(
      `The config restricts something in a way the gateway does not implement:\n${list}\n` +
        'Remove it, or list it under general_settings.ignored_settings to start without that restriction.',
    )
  }
  return unknown.map(({ path }) => `${path} has no effect: the gateway does not know this setting.`)
}

/** Whether a setting has an effect here; others are not looked at, nor are their `os.environ/` names. */
export function isReadSetting(section: string, name: string): boolean {
  return KNOWN[section]?.has(name) ?? false
}

type Setting = { path: string; name: string; value: unknown }

function collectUnknown(config: Record<string, unknown>): Setting[] {
  const found: Setting[] = []
  for (const [section, value] of Object.entries(config)) {
    const known = KNOWN[section]
    if (known && isObject(value)) {
      for (const [name, setting] of Object.entries(value)) {
        if (!known.has(name) && !isInert(setting))
          found.push({ path: `${section}.${name}`, name, value: setting })
      }
    } else if (section === 'model_list') {
      found.push(...collectFromList(value))
    } else if (section !== 'environment_variables' && !isInert(value)) {
      found.push({ path: section, name: section, value })
    }
  }
  return found
}

/** Only what restricts: other unknown keys of a deployment go to its provider. */
function collectFromList(list: unknown): Setting[] {
  if (!Array.isArray(list)) return []
  return list.flatMap((item: unknown, index) => {
    if (!isObject(item)) return []
    const params = item['litellm_params']
    const parts: [string, unknown][] = [
      ['litellm_params', params],
      ['litellm_params.model_info', isObject(params) ? params['model_info'] : null],
      ['model_info', item['model_info']],
    ]
    return parts.flatMap(([part, fields]) => {
      if (!isObject(fields)) return []
      return Object.entries(fields)
        .filter(([name, value]) => RESTRICTING_DEPLOYMENT.has(name) && !isInert(value))
        .map(([name, value]) => ({ path: `model_list[${index}].${part}.${name}`, name, value }))
    })
  })
}

/** Keys of a deployment that restrict it in a way that is not implemented: none of them is its provider's. */
export const RESTRICTING_DEPLOYMENT: ReadonlySet<string> = new Set([
  'access_groups',
  'access_via_team_ids',
  'blocked',
  'budget_duration',
  'default_api_key_rpm_limit',
  'default_api_key_tpm_limit',
  'guardrails',
  'max_budget',
  'max_file_size_mb',
  'supported_environments',
  'tag_regex',
  'team_id',
])

function isRestricting(path: string, name: string, value: unknown): boolean {
  if (HARMLESS.has(name)) return false
  if (path.startsWith('model_list')) return true
  if (name === 'callbacks' || name === 'optional_pre_call_checks') {
    return JSON.stringify(value)
      .split(',')
      .some((callback) => RESTRICTING_CALLBACK.test(callback))
  }
  if (RESTRICTING_BY_CONTENT.has(name)) return holdsRestriction(value)
  return RESTRICTING.test(name)
}

function holdsRestriction(value: unknown): boolean {
  if (Array.isArray(value)) return value.some((item) => holdsRestriction(item))
  if (!isObject(value)) return false
  return Object.entries(value).some(([name, inner]) => !isInert(inner) && RESTRICTING.test(name))
}
