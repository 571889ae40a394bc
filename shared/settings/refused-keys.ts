import { InvalidRequestError } from '../errors.ts'

/** Why a key is refused, said to the client after the key's name. */
type Reason = string

const OWN_STATE = 'the gateway keeps its state in its own Redis'
const NO_CACHE = 'the gateway never shares answers between requests'
const PROCESS_WIDE = 'it would change the process for everybody'
const CALLBACKS = 'clients may not register callbacks; use a webhook'
const STORED = 'clients may not name credentials stored by the operator'
const AMBIENT = 'credentials must be given by value, not found on the gateway machine'
const BUDGET = 'budgets are not supported, and a budget that nobody holds would be worse than none'
const NOT_A_CLIENT_SETTING = 'clients may not set it'

/** LiteLLM's keys that could do harm, wherever a client puts them. */
const REFUSED: ReadonlyMap<string, Reason> = new Map([
  ...names(['cache_responses', 'cache_kwargs', 'caching', 'caching_groups', 'cache_params'], NO_CACHE),
  ...names(['set_verbose', 'debug_level', 'json_logs'], PROCESS_WIDE),
  ...names(
    [
      'callbacks',
      'success_callback',
      'failure_callback',
      'input_callback',
      'service_callback',
      'service_callbacks',
      'optional_callbacks',
      'litellm_callbacks',
      'alerting',
      'alerting_config',
    ],
    CALLBACKS,
  ),
  ...names(['litellm_credential_name', 'litellm_credential', 'credential_name'], STORED),
  ...names(['oci_key_file', 'aws_profile_name'], AMBIENT),
  ...names(['max_budget', 'budget_duration', 'provider_budget_config'], BUDGET),
  ...names(
    [
      'assistants_config',
      'auto_router_config',
      'configurable_clientside_auth_params',
      'default_api_key_rpm_limit',
      'default_api_key_tpm_limit',
      'guardrails',
      'litellm_embedding_config',
      'litellm_params_template',
      'model_group_affinity_config',
      'optional_pre_call_checks',
      'plugins',
      'router_general_settings',
      'search_tools',
      'tag_regex',
      'tag_routing_prefix',
      'use_in_pass_through',
      'use_litellm_proxy',
      'weights',
    ],
    NOT_A_CLIENT_SETTING,
  ),
])

/** Families of keys that are refused in a config by how they begin. */
const REFUSED_PREFIXES: readonly (readonly [string, Reason])[] = [
  ['redis_', OWN_STATE],
  ['valkey_', OWN_STATE],
  ['auto_router_', NOT_A_CLIENT_SETTING],
  ['complexity_router_', NOT_A_CLIENT_SETTING],
  ['adaptive_router_', NOT_A_CLIENT_SETTING],
  ['quality_router_', NOT_A_CLIENT_SETTING],
  ['milvus_', NOT_A_CLIENT_SETTING],
  ['vector_store_', NOT_A_CLIENT_SETTING],
  ['langfuse_', CALLBACKS],
  ['langsmith_', CALLBACKS],
]

function names(keys: string[], reason: Reason): [string, Reason][] {
  return keys.map((key) => [key, reason])
}

/** Why a client may not send this key, or null. A provider's own `cache_control` or `cache_salt` is not meant. */
export function refusalOf(key: string): Reason | null {
  const reason = REFUSED.get(key)
  if (reason !== undefined) return reason
  return REFUSED_PREFIXES.find(([prefix]) => key.startsWith(prefix))?.[1] ?? null
}

/** A value that asks for nothing, as in a `RouterConfig` dumped whole: null, false, {}, [], or the default log level. */
export function isInert(value: unknown, key = ''): boolean {
  if (value === null || value === undefined || value === false) return true
  if (key === 'debug_level') return value === 'INFO'
  if (Array.isArray(value)) return value.length === 0
  return typeof value === 'object' && Object.keys(value).length === 0
}

/**
 * Refuses a key that could do harm, unless its value is inert.
 * @throws {InvalidRequestError} with the key's path.
 */
export function refuseHarmful(key: string, value: unknown, path: string): void {
  const reason = refusalOf(key)
  if (reason === null || isInert(value, key)) return
  throw new InvalidRequestError(`\`${path}\` is refused: ${reason}. Remove it.`, path, 'refused_parameter')
}

const REFERENCE = /^\s*(?:os\.environ\/|oidc\/)/i
const FILE_PATH = /^\s*(?:\.{0,2}\/|~|file:|[A-Za-z]:\\|\\\\)|\.(?:json|pem|key|p12)\s*$/i

/**
 * Refuses text that LiteLLM would replace by a secret of the server: `os.environ/NAME` and `oidc/...`, at any depth.
 * @throws {InvalidRequestError} with the path; the value is not repeated.
 */
export function refuseReferences(value: unknown, path: string, depth = 0): void {
  if (typeof value === 'string') {
    if (!REFERENCE.test(value)) return
    const message = `\`${path}\` refers to a secret of the server (os.environ/..., oidc/...). Send the value itself.`
    throw new InvalidRequestError(message, path, 'refused_reference')
  }
  if (typeof value !== 'object' || value === null) return
  if (depth > 32) throw new InvalidRequestError(`\`${path}\` is nested too deeply.`, path)
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) refuseReferences(item, `${path}[${index}]`, depth + 1)
    return
  }
  for (const [key, item] of Object.entries(value)) refuseReferences(item, `${path}.${key}`, depth + 1)
}

/** Whether a credential is given as the path of a file on the server. */
export function isFilePath(value: string): boolean {
  return FILE_PATH.test(value)
}

const FORBIDDEN_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'api-key',
  'authorization',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'cookie',
  'expect',
  'forwarded',
  'host',
  'keep-alive',
  'metadata',
  'metadata-flavor',
  'ocp-apim-subscription-key',
  'openai-organization',
  'proxy-authenticate',
  'proxy-authorization',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'via',
  'x-api-key',
  'x-goog-api-key',
  'x-goog-user-project',
  'x-real-ip',
  'xi-api-key',
])

const FORBIDDEN_HEADER_PREFIXES = ['x-forwarded-', 'x-amz-', 'x-aws-', 'x-litellm-', 'proxy-', 'x-original-']

/** Whether a header carries credentials, routing or framing, which no client sets beside its bundle. */
export function isForbiddenHeader(name: string): boolean {
  const lower = name.toLowerCase()
  return FORBIDDEN_HEADERS.has(lower) || FORBIDDEN_HEADER_PREFIXES.some((prefix) => lower.startsWith(prefix))
}
