import { RETRIES_MAX, TIMEOUT_S_MAX, readExtraBody, secondsOf } from './deployments.ts'
import { nearMissOf } from './near-misses.ts'
import type { Notes } from './notes.ts'
import { capped, invalid } from './notes.ts'
import { isInert, refusalOf, refuseHarmful, refuseReferences } from './refused-keys.ts'
import { HOPS_MAX } from './router-settings.ts'
import {
  CHAT_PARAMS,
  CONNECTION_FIELDS,
  LOCATION_FIELDS,
  PROVIDER_SECRETS,
  REQUEST_FIELDS,
} from './schemas/field-names.ts'
import { Timeout } from './schemas/user-config.ts'

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
  maxFallbacks: number | null
  disableFallbacks: boolean
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
  const extra = split.gateway['extra_body']
  if (extra !== undefined) split.body = { ...readExtraBody(extra, 'extra_body'), ...split.body }
  return split
}

function classOfUnknown(key: string, value: unknown): FieldClass {
  refuseHarmful(key, value, key)
  if (refusalOf(key) !== null) return 'gateway'
  const meant = nearMissOf(key)
  if (meant !== null && !isInert(value)) {
    throw invalid(key, `is not a field of a request. Did you mean "${meant}"?`)
  }
  return key.startsWith('litellm_') ? 'gateway' : 'body'
}

/**
 * Reads the per-request settings that LiteLLM takes in a body.
 * @throws {InvalidRequestError} with the field's path.
 */
export function readRequestSettings(gateway: Record<string, unknown>, notes: Notes): RequestSettings {
  noteLaterFields(gateway, notes)
  return {
    numRetries: capped(wholeNumber(gateway, 'num_retries'), RETRIES_MAX, 'num_retries', notes),
    timeoutS: readTimeout(gateway, notes),
    maxFallbacks: capped(wholeNumber(gateway, 'max_fallbacks'), HOPS_MAX, 'max_fallbacks', notes),
    disableFallbacks: readFlag(gateway, 'disable_fallbacks'),
  }
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

function readTimeout(fields: Record<string, unknown>, notes: Notes): number | null {
  const name = fields['timeout'] === undefined ? 'request_timeout' : 'timeout'
  const value = fields[name]
  if (value === undefined) return null
  if (!Timeout.safeParse(value).success) throw invalid(name, 'must be a number of seconds above 0.')
  return capped(secondsOf(value), TIMEOUT_S_MAX, name, notes)
}

const LATER_FIELDS = [
  'additional_drop_params',
  'allowed_model_region',
  'allowed_openai_params',
  'drop_params',
  'fastest_response',
  'mock_delay',
  'mock_testing_content_policy_fallbacks',
  'mock_testing_context_fallbacks',
  'mock_testing_fallbacks',
  'mock_testing_rate_limit_error',
  'mock_timeout',
  'priority',
  'specific_deployment',
  'stream_timeout',
  'tags',
]

function noteLaterFields(gateway: Record<string, unknown>, notes: Notes): void {
  for (const key of LATER_FIELDS) {
    if (!isInert(gateway[key])) notes.notYetActive.push(key)
  }
  const retries = gateway['max_retries']
  if (retries !== undefined && retries !== 0) {
    notes.warnings.push(
      '`max_retries` has no effect: the gateway is the only one that retries. Use `num_retries`.',
    )
  }
}

/**
 * The canned answer a request asks for; undefined when it asks for none.
 * @throws {InvalidRequestError} when it is nested too deeply.
 */
export function mockOf(gateway: Record<string, unknown>): unknown {
  const mock = gateway['mock_response']
  if (isInert(mock)) return undefined
  refuseReferences(mock, 'mock_response')
  return mock
}

/**
 * Refuses test switches for models of the operator: a caller could fake failures of deployments that others use.
 * @throws {InvalidRequestError} with the field's path.
 */
export function refuseMocks(gateway: Record<string, unknown>): void {
  for (const key of REQUEST_FIELDS) {
    if (!key.startsWith('mock_') || isInert(gateway[key])) continue
    throw invalid(key, "is a test switch for your own deployments; this is one of the operator's models.")
  }
}
