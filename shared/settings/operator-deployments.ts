import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { OptIn } from './clientside-auth.ts'
import { readOptIns } from './clientside-auth.ts'
import { connectionOf } from './connection.ts'
import type { Deployment } from './deployments.ts'
import { readDeployments } from './deployments.ts'
import type { Notes } from './notes.ts'
import { invalid, isObject, jsonPath } from './notes.ts'
import { missingOf, namesOf } from './provider-auth.ts'
import type { CredentialSet, ProviderEntry } from './provider-catalog.ts'
import { findProvider, resolveModel, unservedReason } from './provider-catalog.ts'
import { isMocked } from './mock-switches.ts'
import { RESTRICTING_DEPLOYMENT } from './operator-settings.ts'
import { isFilePath, refusalOf } from './refused-keys.ts'
import { warnOfMaxRetries } from './router-settings.ts'
import { REQUEST_FIELDS } from '../schemas/field-names.ts'
import type { CredentialBundle } from '../schemas/plan.ts'
import { LooseParams, PARAM_NAMES, UserDeployment } from '../schemas/user-config.ts'

/** A deployment of the operator's `config.yaml`, with what clients may set on it. */
export type OperatorDeployment = Deployment & { optIns: OptIn[] }

type Variables = Record<string, string | undefined>
type Context = { defaults: Record<string, unknown>; path: string; variables: Variables; notes: Notes }

const LooseDeployment = z.object({ ...UserDeployment.shape, litellm_params: LooseParams })

/**
 * Reads one entry of an operator's `model_list`, `os.environ/` already replaced. Keys LiteLLM does not know go to the
 * provider, as they do there; a missing key or base is taken from the provider's usual environment variable.
 * @throws {InvalidRequestError} with the path of what is wrong.
 */
export function readOperatorDeployments(value: unknown, context: Context): OperatorDeployment[] {
  const { defaults, path, notes } = context
  if (!isObject(value)) throw invalid(path, 'must be a mapping with model_name and litellm_params.')
  const params = isObject(value['litellm_params']) ? { ...value['litellm_params'] } : {}
  const optIns = readOptIns(
    params['configurable_clientside_auth_params'],
    `${path}.litellm_params.configurable_clientside_auth_params`,
  )
  const info = value['model_info'] ?? params['model_info']
  const given = { ...value, model_info: info, litellm_params: forProvider(withoutNulls(params), path, notes) }
  const item = parseItem(given, path)
  const filled = withVariables(item.litellm_params, context.variables)
  const withKeys = { ...item, litellm_params: withFiles(filled, `${path}.litellm_params`) }
  const known = resolveModel(item.litellm_params.model, {
    customProvider: item.litellm_params.custom_llm_provider,
    apiVersion: item.litellm_params.api_version,
  })
  if (known.kind === 'unresolved') {
    notes.warnings.push(`${path}.litellm_params.model ${known.reason} The deployment is left out.`)
    return []
  }
  warnOfMaxRetries(item.litellm_params, `${path}.litellm_params`, notes)
  const deployments = readDeployments(withKeys, defaults, path, { kind: 'operator' }, notes)
  for (const { bundle } of deployments) warnOfUnusable(bundle, optIns, path, notes)
  return deployments.map((deployment) => ({ ...deployment, optIns }))
}

function withoutNulls(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null))
}

/** Settings that are LiteLLM's own and have nothing to act on here. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  ...REQUEST_FIELDS,
  'configurable_clientside_auth_params',
  'keepalive_seconds',
  'litellm_credential_name',
  'litellm_trace_id',
  'merge_reasoning_content_in_choices',
  'model_info',
  'use_chat_completions_api',
  'use_in_pass_through',
  'use_litellm_proxy',
])

/** Moves keys that are no settings into `extra_body`. */
function forProvider(params: Record<string, unknown>, path: string, notes: Notes): Record<string, unknown> {
  const known: Record<string, unknown> = {}
  const extra: Record<string, unknown> = isObject(params['extra_body']) ? { ...params['extra_body'] } : {}
  for (const [key, value] of Object.entries(params)) {
    if (PARAM_NAMES.has(key)) {
      known[key] = value
      continue
    }
    const isOurs = isLiteLLMs(key)
    if (!isOurs) extra[key] = value
    if (key === 'configurable_clientside_auth_params' || key === 'model_info') continue
    const what = isOurs ? 'has no effect' : 'is no setting and is sent to the provider'
    notes.warnings.push(`${path}.litellm_params.${key} ${what}.`)
  }
  if (Object.keys(extra).length > 0) known['extra_body'] = extra
  return known
}

/** Whether a key steers LiteLLM itself, a restriction that was waived included: no provider reads it. */
function isLiteLLMs(key: string): boolean {
  if (WITHOUT_EFFECT.has(key) || RESTRICTING_DEPLOYMENT.has(key)) return true
  return refusalOf(key) !== null || /_cost_per_|^litellm_|_budget$|^budget_/.test(key)
}

function parseItem(value: Record<string, unknown>, path: string): UserDeployment {
  const result = LooseDeployment.safeParse(withoutNulls(value))
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw invalid(jsonPath(path, issue?.path ?? []), `can't be used: ${issue?.message ?? 'it is not valid'}.`)
}

/**
 * What is missing from the environment variables that LiteLLM reads for this provider: one whole credential where the file
 * has none, its places, its base.
 */
function withVariables(params: UserDeployment['litellm_params'], variables: Variables) {
  const resolved = resolveModel(params.model, {
    customProvider: params.custom_llm_provider,
    apiVersion: params.api_version,
  })
  if (resolved.kind === 'unresolved' || params.mock_response !== undefined) return params
  const { provider } = resolved
  const { credentials, places, defaultBase, placeBase } = provider
  const isGiven = (field: string) => namesOf(field).some((name) => params[name] !== undefined)
  const found = (field: string) => firstOf(variablesOf(provider, field), variables)
  const hasBase = params.api_base !== undefined || params.base_url !== undefined
  const filled = { ...params }
  // A key of the environment belongs to the provider's usual base: another one in the file needs its own key.
  const isUsual = !hasBase || (defaultBase === null && placeBase === null)
  if (isUsual && !credentials.flatMap(fieldsOf).some(isGiven)) {
    const set = credentials.find(({ fields }) => fields.every((field) => found(field) !== undefined))
    for (const field of set ? fieldsOf(set) : []) filled[field] = found(field)
  }
  for (const place of places) if (!isGiven(place)) filled[place] = found(place)
  if (!hasBase) filled.api_base = firstOf(provider.baseVariables, variables)
  return filled
}

function fieldsOf(set: CredentialSet): string[] {
  return [...set.fields, ...(set.with ?? [])]
}

/** LiteLLM takes the path of a service account's key file; the operator's own file may name one, as every process reads it. */
function withFiles(params: UserDeployment['litellm_params'], path: string) {
  const files = namesOf('vertex_credentials').flatMap((name) => {
    const value = params[name]
    return typeof value === 'string' && isFilePath(value)
      ? [[name, readKeyFile(value, `${path}.${name}`)]]
      : []
  })
  return { ...params, ...Object.fromEntries(files) }
}

function readKeyFile(file: string, path: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    throw invalid(path, "names a file that can't be read.")
  }
}

function variablesOf({ keyVariables, authVariables }: ProviderEntry, field: string): readonly string[] {
  return field === 'api_key' ? keyVariables : (authVariables[field] ?? [])
}

/** The first of some environment variables that is set. */
function firstOf(names: readonly string[], variables: Variables): string | undefined {
  for (const name of names) {
    const value = variables[name]
    if (value !== undefined && value !== '') return value
  }
  return undefined
}

/** Whether a deployment can be called with what it has; a mocked one always can. */
export function isCallable(bundle: CredentialBundle): boolean {
  if (isMocked(bundle)) return true
  const provider = findProvider(bundle.provider)
  if (!provider || provider.family === 'unserved') return false
  return missingOf(connectionOf(bundle), provider) === null
}

function warnOfUnusable(bundle: CredentialBundle, optIns: OptIn[], path: string, notes: Notes): void {
  const provider = findProvider(bundle.provider)
  if (!provider || isCallable(bundle)) return
  if (provider.family === 'unserved') {
    notes.warnings.push(`${path} needs ${unservedReason(provider)} Requests to it get a 400.`)
    return
  }
  const missing = missingOf(connectionOf(bundle), provider)
  if (missing?.field === 'api_base') throw invalid(`${path}.litellm_params.api_base`, missing.what)
  if (optIns.length > 0 || !missing) return
  notes.warnings.push(
    `${path} has no ${missing.field}, and clients may not bring one; requests to it get a 400.`,
  )
}
