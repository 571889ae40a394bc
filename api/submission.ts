import type { FastifyRequest } from 'fastify'
import { askedOf } from '../shared/jobs/asked.ts'
import type { Endpoint } from '../shared/jobs/endpoints.ts'
import type { EgressPolicy } from '../shared/egress.ts'
import { CredentialNotFoundError, InvalidRequestError, NotAllowedError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import type { JobInput } from '../shared/jobs/jobs.ts'
import type { OperatorConfig } from '../shared/settings/operator-config.ts'
import type { PlanCache } from '../shared/plans/plan-cache.ts'
import { credentialIds, NONE_NAMED, type NamedCredentials } from '../shared/credentials/named-credentials.ts'
import { resolvePlan } from '../shared/plans/plan.ts'
import { Customer } from '../shared/schemas/completion.ts'
import type { JobOptions } from '../shared/schemas/job.ts'
import { checkWebhookSecret } from '../shared/webhooks/signature.ts'
import type { StoredCredentials } from '../shared/credentials/stored-credentials.ts'
import type { WebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'
import { admissionOf } from './admission.ts'
import { fingerprintRequest, readIdempotencyKey } from './idempotency.ts'
import { durabilityOf, type DurabilityCheck } from './durable.ts'
import { withJobHeaders } from './job-headers.ts'
import { keptAtMostMs } from './retention.ts'
import { readRoutingHeaders } from './routing-headers.ts'
import { identifyCall } from './same-call.ts'
import { checkEndpointIds } from './webhook-endpoint-ids.ts'

const ATTEMPTS_DEFAULT = 12
const ATTEMPTS_MAX = 30
const DELAY_MAX_MS = 30 * 86_400_000

/** What the making of a job needs of the process. Times in milliseconds. */
export type SubmissionDeps = {
  ids: Ids
  operator: OperatorConfig
  /** Plans of configs that come again; null: each is resolved anew. */
  cache: PlanCache | null
  egress: EgressPolicy
  webhookEgress: EgressPolicy
  /** Credentials that a request may name. */
  credentials: Pick<StoredCredentials, 'openAll'>
  webhookEndpoints: Pick<WebhookEndpoints, 'standings'>
  requireDurability: DurabilityCheck
  times: {
    syncDeadlineMs: number
    asyncDeadlineMs: number
    syncRetentionMs: number
    resultRetentionMs: number
  }
}

/** One completion as a client submits it, by either door. */
export type Submission = {
  request: FastifyRequest
  mode: 'sync' | 'async'
  endpoint: Endpoint
  /** Route path without its alternative spellings; part of the idempotency key's scope. */
  path: string
  /** The completion's own body, `job` and `customer` taken out. */
  body: Record<string, unknown>
  customer: string | null
  options: JobOptions
  /** JSON paths of body and options in what the client sent, with a dot at the end unless empty. */
  bodyPath: string
  optionsPath: string
}

/** Stored credentials that a request names, opened; Redis is asked only where it names some. */
export async function openNamed(
  body: Record<string, unknown>,
  tenant: string,
  { credentials }: Pick<SubmissionDeps, 'credentials'>,
): Promise<NamedCredentials> {
  const ids = credentialIds(body)
  return ids.length === 0 ? NONE_NAMED : credentials.openAll(tenant, ids)
}

/**
 * Turns a submission into a job to be stored: plan and credentials resolved, options checked. Nothing is stored yet.
 * @throws {InvalidRequestError} with the JSON path of what is wrong.
 * @throws {NotAllowedError}
 * @throws {CredentialNotFoundError}
 */
export async function prepareJob(submission: Submission, deps: SubmissionDeps): Promise<JobInput> {
  const { request, mode, optionsPath } = submission
  const options = withJobHeaders(submission.options, request.headers, deps.webhookEgress)
  const body = { ...submission.body, ...readRoutingHeaders(request.headers) }
  const { tenant } = request
  const customer = readCustomer(request) ?? submission.customer
  const named = await openNamed(body, tenant, deps)
  const endpoint = submission.endpoint.name
  const resolved = underPath(submission.bodyPath, () =>
    resolvePlan({ body, tenant, customer, endpoint, allowed: request.principal, named }, deps),
  )
  const warnings = [...resolved.warnings]
  const attempts = options.max_attempts ?? ATTEMPTS_DEFAULT
  if (attempts > ATTEMPTS_MAX) {
    warnings.push(`${optionsPath}max_attempts was lowered from ${attempts} to ${ATTEMPTS_MAX}`)
  }
  const isSync = mode === 'sync'
  const endpointIds = options.webhook_endpoint_ids
  const whose = { tenant, customer, webhookEndpointIds: endpointIds }
  await checkEndpointIds(deps.webhookEndpoints, whose, `${optionsPath}webhook_endpoint_ids`)
  if (isSync && endpointIds && endpointIds.length > 0) {
    warnings.push(`${optionsPath}webhook_endpoint_ids has no effect on a call that waits for its answer`)
  }
  const durability = await durabilityOf(request, options.durability, `${optionsPath}durability`, deps)
  const expiresInMs = isSync ? deps.times.syncDeadlineMs : deps.times.asyncDeadlineMs
  const resultTtlMs = isSync ? deps.times.syncRetentionMs : deps.times.resultRetentionMs
  const key = readIdempotencyKey(request.headers['idempotency-key']) ?? options.idempotency_key
  const { path } = submission
  const asked = askedOf(body)
  return {
    id: deps.ids.newJobId(tenant),
    tenant,
    keyId: request.principal.keyId,
    customer,
    endpoint: submission.endpoint.path,
    model: resolved.model,
    mode,
    plan: { ...resolved.plan, ...durability, max_attempts: Math.min(attempts, ATTEMPTS_MAX) },
    bundles: resolved.bundles,
    body: resolved.body,
    webhook: checkWebhook(options.webhook, `${optionsPath}webhook`, deps.webhookEgress),
    ...(endpointIds ? { webhookEndpointIds: [...new Set(endpointIds)] } : {}),
    metadata: options.metadata ?? {},
    priority: options.priority ?? resolved.plan.priority ?? 'normal',
    delayMs: readDelayMs(options, optionsPath),
    expiresInMs: options.expires_in === undefined ? expiresInMs : Math.ceil(options.expires_in * 1000),
    resultTtlMs: keptAtMostMs(
      options.result_ttl === undefined ? resultTtlMs : options.result_ttl * 1000,
      request.principal.record?.retention.results_seconds,
    ),
    onCrash: options.on_crash ?? 'retry',
    warnings,
    sameCall: key === undefined ? identifyCall(request, customer, deps.ids) : null,
    erased: asked.erased,
    ...(Object.keys(asked.fields).length === 0 ? {} : { asked: asked.fields }),
    idempotency:
      key === undefined
        ? null
        : fingerprintRequest(deps.ids, { tenant, customer, path, key, body: request.body }),
    admission: admissionOf({ record: request.principal.record, customer }, resolved.plan, {
      endpoint,
      body: resolved.body,
    }),
  }
}

// Node reads header bytes as Latin-1; names outside ASCII come as UTF-8 and must equal the same name in a body.
/** The customer that a request's header names; null: none. @throws {InvalidRequestError} */
export function readCustomer({ headers }: FastifyRequest): string | null {
  const header = [headers['x-litellm-customer-id'] ?? []].flat().join(',')
  if (header === '') return null
  const text = Buffer.from(header, 'latin1').toString('utf8')
  if (Customer.safeParse(text).success && !text.includes('\ufffd')) return text
  throw new InvalidRequestError('A customer is 1 to 256 characters in UTF-8.', 'x-litellm-customer-id')
}

function readDelayMs(options: JobOptions, optionsPath: string): number {
  if (options.not_before === undefined) return Math.ceil((options.delay ?? 0) * 1000)
  const param = `${optionsPath}not_before`
  if (options.delay !== undefined) {
    throw new InvalidRequestError('Give `delay` or `not_before`, not both.', param)
  }
  const delayMs = Math.max(0, Math.ceil(options.not_before * 1000 - Date.now()))
  if (delayMs <= DELAY_MAX_MS) return delayMs
  throw new InvalidRequestError(`\`${param}\` is unix seconds at most 30 days from now.`, param)
}

/** @throws {InvalidRequestError} for an address that webhooks may not go to, and for a secret that can't be used. */
export function checkWebhook<Webhook extends { url: string; secret?: string | undefined }>(
  webhook: Webhook | null | undefined,
  path: string,
  egress: EgressPolicy,
): Webhook | null {
  if (webhook === undefined || webhook === null) return null
  egress.checkUrl(webhook.url, `${path}.url`, { allowQuery: true })
  if (webhook.secret !== undefined) checkWebhookSecret(webhook.secret, `${path}.secret`)
  return webhook
}

// The plan names fields as they lie in the completion's body; the client sees them one level deeper.
function underPath<T>(path: string, resolve: () => T): T {
  if (path === '') return resolve()
  try {
    return resolve()
  } catch (error) {
    const isElsewhere = error instanceof NotAllowedError || error instanceof CredentialNotFoundError
    if (!(isElsewhere || error instanceof InvalidRequestError) || error.param === null) throw error
    if (isElsewhere) throw error.at(`${path}${error.param}`)
    throw new InvalidRequestError(error.message, `${path}${error.param}`, error.code)
  }
}
