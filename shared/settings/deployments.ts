import type { Connection, Trust } from './connection.ts'
import {
  checkMadeBase,
  readConnection,
  readHeaders,
  refuseFilePaths,
  requireComplete,
  withDefaults,
} from './connection.ts'
import type { DeploymentSettings } from './deployment-settings.ts'
import { readSettings } from './deployment-settings.ts'
import type { OwnFacts } from './model-facts.ts'
import { readOwnFacts } from './model-facts.ts'
import { nameFault } from '../schemas/model-name.ts'
import { nearMissOf } from './near-misses.ts'
import type { Notes } from './notes.ts'
import { invalid, isObject } from './notes.ts'
import { moved, namesOf, refuseForeignSecrets } from './provider-auth.ts'
import type { ProviderEntry } from './provider-catalog.ts'
import { resolveModel } from './provider-catalog.ts'
import { isInert, refusalOf } from './refused-keys.ts'
import {
  CHAT_PARAMS,
  CONNECTION_FIELDS,
  LOCATION_FIELDS,
  PROVIDER_SECRETS,
  REQUEST_FIELDS,
} from '../schemas/field-names.ts'
import type { CredentialBundle, DroppedParams, PlanDeployment } from '../schemas/plan.ts'
import type { UserDeployment } from '../schemas/user-config.ts'
import { DropDefaults } from '../schemas/user-config.ts'

/** Owner of the operator's deployments in ids and Redis keys. */
export const OPERATOR = 'operator'
/** A deployment of a list, checked: what the router goes by and what the call is made with. */
export type Deployment = {
  group: string
  writtenModel: string
  customProvider: string | undefined
  bundle: CredentialBundle
  settings: DeploymentSettings
  /** Price and window as the config gives them. */
  own: OwnFacts
  tags: readonly string[]
  region: string | null
  /** `model_info.id`: a name for this one deployment. */
  infoId: string | null
}

const BODY_FIELDS: readonly string[] = [...CHAT_PARAMS, ...LOCATION_FIELDS]
/**
 * What `extra_body` can't carry: it would change who is called, with which key, or how the answer is read, or would
 * pass what the gateway checks, as a second `extra_body` would.
 */
const NOT_IN_EXTRA_BODY: ReadonlySet<string> = new Set([
  ...CONNECTION_FIELDS,
  ...PROVIDER_SECRETS,
  ...REQUEST_FIELDS,
  'litellm_params',
  'messages',
  'model',
  'stream',
  'stream_options',
])

/**
 * One entry of a `model_list` as deployments: one for each organization when it lists several.
 * @throws {InvalidRequestError} with the path of what is wrong.
 */
export function readDeployments(
  item: UserDeployment,
  defaults: Record<string, unknown>,
  path: string,
  trust: Trust,
  notes: Notes,
): Deployment[] {
  const params = item.litellm_params
  if (Array.isArray(params.organization)) {
    return params.organization.flatMap((organization) => {
      const single = { ...item, litellm_params: { ...params, organization } }
      return readDeployments(single, defaults, path, trust, notes)
    })
  }
  const prefix = `${path}.litellm_params.`
  const { provider, model } = readModel(params.model, params, prefix)
  const bundle = readBundle(params, defaults, { provider, model }, prefix, trust)
  return [
    {
      group: item.model_name,
      writtenModel: params.model,
      customProvider: params.custom_llm_provider,
      bundle,
      settings: readSettings(item, defaults, path, notes),
      own: readOwnFacts(item),
      tags: params.tags ?? [],
      region: params.region_name ?? regionOf(bundle),
      infoId: item.model_info?.id ?? null,
    },
  ]
}

/** The region that a deployment is called in by its address. */
export function regionOf({ auth = {} }: CredentialBundle): string | null {
  return auth['aws_region_name'] ?? auth['vertex_location'] ?? null
}

function readModel(written: string, fields: Record<string, unknown>, prefix: string) {
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  if (/[\u0000-\u0020\u007f]/.test(written))
    throw invalid(`${prefix}model`, 'must not hold spaces or control characters.')
  const custom = fields['custom_llm_provider']
  const customProvider = typeof custom === 'string' ? custom : undefined
  const resolved = resolveModel(written, { customProvider, apiVersion: fields['api_version'] ?? undefined })
  if (resolved.kind === 'unresolved') throw invalid(`${prefix}model`, resolved.reason)
  return { provider: resolved.provider, model: resolved.model }
}

function readBundle(
  params: UserDeployment['litellm_params'],
  defaults: Record<string, unknown>,
  target: { provider: ProviderEntry; model: string },
  prefix: string,
  trust: Trust,
): CredentialBundle {
  const given = readConnection(params, prefix, trust, target.provider.authFields)
  if (trust.kind === 'client') refuseFilePaths(params, prefix)
  const isMocked =
    !isInert(params.mock_response) || params.mock_timeout === true || params.mock_delay !== undefined
  const connection = withDefaults(given, target.provider, target.model)
  if (!isMocked && target.provider.family !== 'unserved')
    refuseForeignSecrets(params, target.provider, prefix)
  // An operator's deployment may wait for a client's credential, or for its provider to be served.
  if (!isMocked && trust.kind === 'client') requireComplete(connection, target.provider, prefix)
  checkMadeBase(connection, target.provider, prefix, trust)
  const bundle = bundleFrom(connection, target.provider.name, target.model, trust.kind === 'operator')
  bundle.headers = {
    ...readHeaders(defaults['extra_headers'], `${prefix}extra_headers`, trust),
    ...readHeaders(params.default_headers, `${prefix}default_headers`, trust),
    ...readHeaders(params.headers, `${prefix}headers`, trust),
    ...readHeaders(params.extra_headers, `${prefix}extra_headers`, trust),
  }
  bundle.params = {
    ...bodyFields(defaults),
    ...readExtraBody(defaults['extra_body'], `${prefix}extra_body`),
    ...bodyFields(params, target.provider.places.flatMap(namesOf)),
    ...readExtraBody(params.extra_body, `${prefix}extra_body`),
  }
  const drop = readDrop(withDefaultDrops(params, defaults))
  if (drop) bundle.drop = drop
  if (!isInert(params.mock_response)) bundle.mock_response = params.mock_response
  if (params.mock_timeout === true) bundle.mock_timeout = true
  if (params.mock_delay !== undefined) bundle.mock_delay_s = params.mock_delay
  return bundle
}

type DropFields = {
  drop_params?: unknown
  additional_drop_params?: string[] | undefined
  allowed_openai_params?: string[] | undefined
}

function withDefaultDrops(params: DropFields, defaults: Record<string, unknown>): DropFields {
  const { data: usual = {} } = DropDefaults.safeParse(defaults)
  return {
    drop_params: params.drop_params ?? usual.drop_params ?? undefined,
    additional_drop_params: params.additional_drop_params ?? usual.additional_drop_params ?? undefined,
    allowed_openai_params: params.allowed_openai_params ?? usual.allowed_openai_params ?? undefined,
  }
}

/** Which body parameters are taken out, by three checked fields; null: none. */
export function readDrop(fields: DropFields): DroppedParams | null {
  const unsupported = fields.drop_params === true
  const { additional_drop_params: names = [], allowed_openai_params: allowed = [] } = fields
  return unsupported || names.length > 0 ? { unsupported, names, allowed } : null
}

/** A bundle of nothing but a connection. */
export function bundleFrom(
  connection: Connection,
  provider: string,
  model: string,
  isOperatorBase: boolean,
): CredentialBundle {
  const { auth } = connection
  return {
    provider,
    model,
    api_base: connection.apiBase,
    trusted_base: isOperatorBase,
    api_key: connection.apiKey,
    api_version: connection.apiVersion,
    organization: connection.organization,
    azure_ad_token: connection.azureAdToken,
    ...(Object.keys(auth).length > 0 && { auth }),
    headers: {},
    params: {},
  }
}

/** @param places Those that the provider is called with are no parameters of its bodies. */
function bodyFields(
  fields: Record<string, unknown>,
  places: readonly string[] = [],
): Record<string, unknown> {
  const body: Record<string, unknown> = {}
  for (const name of BODY_FIELDS) {
    const value = fields[name]
    if (value !== undefined && value !== null && !places.includes(name)) body[name] = value
  }
  return body
}

/**
 * The fields of an `extra_body`: provider-specific, so of any name but those that decide whom we call.
 * @throws {InvalidRequestError}
 */
export function readExtraBody(value: unknown, path: string): Record<string, unknown> {
  if (value === undefined || value === null) return {}
  if (!isObject(value)) throw invalid(path, 'must be an object.')
  const body: Record<string, unknown> = {}
  for (const [key, content] of Object.entries(value)) {
    const meant = nearMissOf(key)
    if (!NOT_IN_EXTRA_BODY.has(key) && refusalOf(key) === null && meant === null) {
      body[key] = content
    } else if (content !== null && content !== false) {
      const advice = meant === null || meant === key ? '' : ` Did you mean "${meant}", beside it?`
      const what = `is refused here: \`extra_body\` is for parameters that only the provider reads.${advice}`
      throw invalid(`${path}.${key}`, what)
    }
  }
  return body
}

/** The bundle for a concrete model: of a wildcard deployment, the model the wildcard stood for; null if none. */
export function concreteBundle(deployment: Deployment, writtenModel: string): CredentialBundle | null {
  if (writtenModel === deployment.writtenModel) return deployment.bundle
  const hints = {
    customProvider: deployment.customProvider,
    apiVersion: deployment.bundle.provider === 'azure' ? deployment.bundle.api_version : undefined,
  }
  const resolved = resolveModel(writtenModel, hints)
  // A key goes to the provider it was given for: a bare `*` does not turn it into one for another.
  if (resolved.kind === 'unresolved' || resolved.provider.name !== deployment.bundle.provider) return null
  // What a wildcard caught may make a name out of harmless pieces.
  if (nameFault(resolved.model) !== null) return null
  return { ...deployment.bundle, model: resolved.model }
}

/**
 * The bundle a worker calls a deployment with: the job's own, or the operator's from this process's `config.yaml`,
 * with what the operator let the client override. Null when the operator's deployment is not known here.
 */
export function bundleOf(
  deployment: PlanDeployment,
  own: CredentialBundle | undefined,
  operator: ReadonlyMap<string, CredentialBundle>,
): CredentialBundle | null {
  if (deployment.operator_id === undefined) return own ?? null
  const found = operator.get(deployment.operator_id)
  if (!found) return null
  const bundle: CredentialBundle = {
    ...found,
    is_operators: true,
    model: deployment.model,
    api_version: own?.api_version ?? found.api_version,
    organization: own?.organization ?? found.organization,
  }
  if (own?.auth) Object.assign(bundle, moved(found, own.auth))
  if (own?.overrides) bundle.overrides = own.overrides
  if (own?.mock_response !== undefined) bundle.mock_response = own.mock_response
  if (own?.mock_timeout !== undefined) bundle.mock_timeout = own.mock_timeout
  if (own?.mock_delay_s !== undefined) bundle.mock_delay_s = own.mock_delay_s
  return bundle
}
