import type { z } from 'zod'
import { RETRIES_MAX, TIMEOUT_S_MAX, secondsOf } from './caps.ts'
import { readDrop, readExtraBody } from './deployments.ts'
import { firstFailureOf } from './mock-switches.ts'
import { nearMissOf } from './near-misses.ts'
import type { Notes } from './notes.ts'
import { capped, invalid, isObject } from './notes.ts'
import { isInert, refusalOf, refuseHarmful } from './refused-keys.ts'
import type { Priority } from './router-settings.ts'
import { HOPS_MAX, priorityOf, warnOfMaxRetries } from './router-settings.ts'
import {
  CHAT_PARAMS,
  CONNECTION_FIELDS,
  LOCATION_FIELDS,
  PROVIDER_SECRETS,
  REQUEST_FIELDS,
} from '../schemas/field-names.ts'
import type { DroppedParams, Plan } from '../schemas/plan.ts'
import {
  PARAM_NAMES,
  RegionName,
  RequestTags,
  Timeout,
  dropShape,
  routerShape,
} from '../schemas/user-config.ts'

/** A request taken apart: what goes to the provider, what the gateway reads, what is a credential. */
export type SplitRequest = {
  /** For the provider, `model` still in it. */
  body: Record<string, unknown>
  /** Gateway fields that were given. */
  gateway: Record<string, unknown>
  /** Fields of credential class that were given; never null, never in `body`. */
  credentials: Record<string, unknown>
}

/** Per-request settings, checked. Null: not given. */
export type RequestSettings = {
  numRetries: number | null
  timeoutS: number | null
  streamTimeoutS: number | null
  maxFallbacks: number | null
  disableFallbacks: boolean
  tags: readonly string[]
  /** `allowed_model_region`. */
  region: string | null
  /** `model` is a deployment's `litellm_params.model` and nothing else. */
  isSpecificDeployment: boolean
  drop: DroppedParams | null
  priority: Priority | null
  firstFailure: NonNullable<Plan['first_failure']> | null
}

type FieldClass = 'body' | 'gateway' | 'credential'

const CREDENTIAL_FIELDS: readonly string[] = [...CONNECTION_FIELDS, ...PROVIDER_SECRETS]
const CLASSES: ReadonlyMap<string, FieldClass> = new Map([
  ...['model', 'messages', 'stream', 'stream_options', ...CHAT_PARAMS, ...LOCATION_FIELDS].map(
    (name) => [name, 'body'] as [string, FieldClass],
  ),
  ...REQUEST_FIELDS.map((name) => [name, 'gateway'] as [string, FieldClass]),
  ...CREDENTIAL_FIELDS.map((name) => [name, 'credential'] as [string, FieldClass]),
])

/** Settings of a config and its deployments: here nothing would go by them, and a provider would stumble over them. */
const CONFIG_KEYS: ReadonlySet<string> = new Set(
  [...Object.keys(routerShape), ...PARAM_NAMES, 'model_info', 'model_name'].filter(
    (key) => !CLASSES.has(key),
  ),
)

/**
 * Takes a request apart by the name of each field. Unknown fields are the provider's and stay as they came, unless
 * they are a near miss of ours or could do harm.
 * @throws {InvalidRequestError} with the field's path.
 */
export function splitRequest(request: Record<string, unknown>): SplitRequest {
  const split: SplitRequest = { body: {}, gateway: {}, credentials: {} }
  for (const key of Object.keys(request)) {
    const value = request[key]
    const fieldClass = CLASSES.get(key) ?? classOfUnknown(key, value)
    if (fieldClass === 'body') split.body[key] = value
    else if (value === null || value === undefined) continue
    else if (fieldClass === 'gateway') split.gateway[key] = value
    else split.credentials[key] = value
  }
  takeTags(split)
  const extra = split.gateway['extra_body']
  if (extra !== undefined) split.body = { ...readExtraBody(extra, 'extra_body'), ...split.body }
  return split
}

/** LiteLLM takes tags in `metadata` as well, where no provider takes a list. */
function takeTags(split: SplitRequest): void {
  const { metadata } = split.body
  if (!isObject(metadata) || !Array.isArray(metadata['tags'])) return
  const { tags, ...others } = metadata
  split.gateway['tags'] ??= tags
  if (Object.keys(others).length > 0) split.body['metadata'] = others
  else delete split.body['metadata']
}

function classOfUnknown(key: string, value: unknown): FieldClass {
  refuseHarmful(key, value, key)
  if (refusalOf(key) !== null) return 'gateway'
  const meant = nearMissOf(key)
  const isOurs = meant !== null || CONFIG_KEYS.has(key)
  // As in LiteLLM, where some clients send it with every request.
  if (isOurs && (isInert(value) || key === 'enable_tag_filtering')) return 'gateway'
  if (meant !== null) throw invalid(key, `is not a field of a request. Did you mean "${meant}"?`)
  if (isOurs) {
    const where = Object.hasOwn(routerShape, key) ? '`user_config`' : '`litellm_params` of a deployment'
    const advice = 'What only your provider knows by this name belongs into `extra_body`.'
    throw invalid(key, `is not a field of a request but of the ${where}. ${advice}`)
  }
  return key.startsWith('litellm_') ? 'gateway' : 'body'
}

/**
 * Reads the per-request settings that LiteLLM takes in a body.
 * @throws {InvalidRequestError} with the field's path.
 */
export function readRequestSettings(gateway: Record<string, unknown>, notes: Notes): RequestSettings {
  refuseFanOut(gateway)
  warnOfMaxRetries(gateway, '', notes)
  const priority = wholeNumber(gateway, 'priority')
  return {
    numRetries: capped(wholeNumber(gateway, 'num_retries'), RETRIES_MAX, 'num_retries', notes),
    timeoutS: readTimeout(gateway, gateway['timeout'] === undefined ? 'request_timeout' : 'timeout', notes),
    streamTimeoutS: readTimeout(gateway, 'stream_timeout', notes),
    maxFallbacks: capped(wholeNumber(gateway, 'max_fallbacks'), HOPS_MAX, 'max_fallbacks', notes),
    disableFallbacks: readFlag(gateway, 'disable_fallbacks'),
    tags: parsed(gateway, 'tags', RequestTags) ?? [],
    region: parsed(gateway, 'allowed_model_region', RegionName) ?? null,
    isSpecificDeployment: readFlag(gateway, 'specific_deployment'),
    drop: readDrop({
      drop_params: parsed(gateway, 'drop_params', dropShape.drop_params),
      additional_drop_params: parsed(gateway, 'additional_drop_params', dropShape.additional_drop_params),
      allowed_openai_params: parsed(gateway, 'allowed_openai_params', dropShape.allowed_openai_params),
    }),
    priority: priority === undefined ? null : priorityOf(priority),
    firstFailure: firstFailureOf(gateway),
  }
}

/** LiteLLM calls several models at once and takes the first answer: each call would be on the user's bill. */
function refuseFanOut(gateway: Record<string, unknown>): void {
  if (isInert(gateway['fastest_response'])) return
  throw invalid(
    'fastest_response',
    'is not supported: it would call, and bill, several models for one answer.',
  )
}

function parsed<Shape extends z.ZodType>(
  fields: Record<string, unknown>,
  name: string,
  schema: Shape,
): z.infer<Shape> | undefined {
  const value = fields[name]
  if (value === undefined) return undefined
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const message = result.error.issues[0]?.message ?? 'is not valid'
  throw invalid(name, `${message.charAt(0).toLowerCase()}${message.slice(1)}.`)
}

function wholeNumber(fields: Record<string, unknown>, name: string): number | undefined {
  const value = fields[name]
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw invalid(name, 'must be a whole number, 0 or more.')
}

function readFlag(fields: Record<string, unknown>, name: string): boolean {
  const value = fields[name] ?? false
  if (typeof value !== 'boolean') throw invalid(name, 'must be true or false.')
  return value
}

function readTimeout(fields: Record<string, unknown>, name: string, notes: Notes): number | null {
  const value = fields[name]
  if (value === undefined) return null
  if (!Timeout.safeParse(value).success) throw invalid(name, 'must be a number of seconds above 0.')
  return capped(secondsOf(value), TIMEOUT_S_MAX, name, notes)
}
