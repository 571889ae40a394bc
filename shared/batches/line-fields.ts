import { nearMissOf } from '../settings/near-misses.ts'
import { isObject } from '../settings/notes.ts'
import { refusalOf } from '../settings/refused-keys.ts'
import {
  CONNECTION_FIELDS,
  LOCATION_FIELDS,
  PROVIDER_SECRETS,
  REQUEST_FIELDS,
} from '../schemas/field-names.ts'
import { routerShape } from '../schemas/user-config.ts'

/** What stands in a field whose credentials were cut out. */
export const ERASED = '[erased]'

/**
 * How a field of a batch line is treated by its name: `secret` ones are credentials or may hold some anywhere, `fallbacks`
 * unless they are names only, a `setting` when there is an object in it; `plain` ones are the request itself, or harmless.
 */
export type Care = 'secret' | 'fallbacks' | 'setting' | 'plain'

const CREDENTIALS: readonly string[] = [...CONNECTION_FIELDS, ...PROVIDER_SECRETS]
const FALLBACKS = ['fallbacks', 'context_window_fallbacks', 'content_policy_fallbacks']
/** Of the gateway's fields those that may hold anything; a job's options hold the secret of its webhook. */
const HOLDERS = ['user_config', 'extra_body', 'extra_headers', 'headers', 'default_headers', 'job']
/** They go with a credential: where it is good for. */
const COMPANIONS: ReadonlySet<string> = new Set(['custom_llm_provider', ...LOCATION_FIELDS])
/** Of the credentials those that are addresses, to which the others go. */
const ADDRESSES: ReadonlySet<string> = new Set([
  'api_base', 'base_url', 'aws_bedrock_runtime_endpoint', 'aws_sts_endpoint', 'deployment_url', 's3_endpoint_url',
  'sagemaker_base_url',
]) // oxfmt-ignore
/** Names a stored credential: it decides who is called, and is no secret. */
const STORED = 'credential'
const NAMES_MAX = 10_000
/** No field has as long a name: one that does is neither compared with those there are, nor remembered. */
const NAME_CHARACTERS_MAX = 200
/** Fields of a config, which have no place in a request and may hold a config's credentials. */
const OF_CONFIG: ReadonlySet<string> = new Set([...Object.keys(routerShape), 'model_info'])

const CARES: ReadonlyMap<string, Care> = new Map<string, Care>([
  ...REQUEST_FIELDS.map((name) => [name, 'setting'] as const),
  ...FALLBACKS.map((name) => [name, 'fallbacks'] as const),
  ...[...CREDENTIALS, ...HOLDERS].map((name) => [name, 'secret'] as const),
])
/** Of names we do not know: looking for what they nearly are takes as long as all else that is done with a line. */
const others = new Map<string, Care>()

/** How a field is treated. One that nearly is a credential's is refused later, and must not lie about until then. */
export function careOf(name: string): Care {
  const known = CARES.get(name) ?? others.get(name)
  if (known !== undefined) return known
  if (name.length > NAME_CHARACTERS_MAX) return 'secret'
  const care = careOfUnknown(name)
  if (others.size >= NAMES_MAX) others.clear()
  others.set(name, care)
  return care
}

function careOfUnknown(name: string): Care {
  if (nearMissOf(name) !== null || refusalOf(name) !== null) return 'secret'
  return OF_CONFIG.has(name) ? 'setting' : 'plain'
}

/** Whether a field with this value is or may hold a credential. */
export function isSecret(care: Care, value: unknown): boolean {
  if (value === null || value === undefined || typeof value === 'boolean' || value === ERASED) return false
  if (care === 'secret') return true
  if (care === 'fallbacks') return !isNamesOnly(value)
  return care === 'setting' && holdsObject(value)
}

/** Whether a field decides by itself who is called with which key. */
export function isCredential(name: string): boolean {
  return name === 'user_config' || name === STORED || CREDENTIALS.includes(name)
}

/**
 * Of fields that were erased the first that says where a key goes and that those which are given anew leave out: without it
 * theirs would go elsewhere. A config or a stored credential says that by itself.
 */
export function missingPlace(
  erased: readonly string[],
  given: Readonly<Record<string, unknown>>,
): string | undefined {
  if ([given['user_config'], given[STORED]].some((value) => value !== undefined && value !== null))
    return undefined
  return erased.find((name) => isPlace(name) && !Object.hasOwn(given, name))
}

function isPlace(name: string): boolean {
  return COMPANIONS.has(name) || ADDRESSES.has(name)
}

/** Whether a field decides neither who is called with which key, nor where. */
export function isSetting(name: string): boolean {
  return !isCredential(name) && !COMPANIONS.has(name)
}

/** Whether a field may stand beside `body` in a line, and not only in it. */
export function isBesideBody(name: string): boolean {
  return (CARES.has(name) && name !== 'customer') || COMPANIONS.has(name)
}

/** Whether a field is a credential, may hold one, or says where or how one is used. */
function isOfBundle(name: string, value: unknown): boolean {
  const care = careOf(name)
  if (care === 'fallbacks') return holdsSecretField(value)
  return care === 'secret' || name === STORED || COMPANIONS.has(name)
}

/** What is left of a batch's fields for a line that has credentials of its own. */
export function withoutBundle(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([name, value]) => !isOfBundle(name, value)))
}

/** What is left of fields whose secrets are erased: nothing that went with these, but a stored credential, which is none. */
export function withoutSecrets(fields: Record<string, unknown>): Record<string, unknown> {
  const left = withoutBundle(fields)
  return Object.hasOwn(fields, STORED) ? { ...left, [STORED]: fields[STORED] } : left
}

// Fallbacks that are objects without a key are called with the line's own.
function holdsSecretField(value: unknown): boolean {
  if (typeof value === 'string') return !isName(value)
  if (Array.isArray(value)) return value.some(holdsSecretField)
  if (!isObject(value)) return false
  return Object.entries(value).some(
    ([name, item]) => name === STORED || careOf(name) === 'secret' || holdsSecretField(item),
  )
}

// As ["model"], or as [{"group": ["model"]}]. A brace in a name: JSON within JSON, which may be anything.
function isNamesOnly(value: unknown): boolean {
  if (!Array.isArray(value)) return false
  return value.every((item) => isName(item) || (isObject(item) && Object.entries(item).every(isGroup)))
}

function isGroup([name, models]: [string, unknown]): boolean {
  return careOf(name) === 'plain' && Array.isArray(models) && models.every(isName)
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && !value.includes('{')
}

function holdsObject(value: unknown): boolean {
  return Array.isArray(value) ? value.some(holdsObject) : isObject(value)
}
