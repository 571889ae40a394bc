import type { FastifyRequest } from 'fastify'
import { requireEndpoint } from '../shared/tenants/allowed.ts'
import type { NewBatch } from '../shared/batches/batches.ts'
import { findEndpoint } from '../shared/jobs/completion-body.ts'
import { InvalidRequestError } from '../shared/errors.ts'
import { isCredential } from '../shared/batches/line-fields.ts'
import { BatchRequest, BatchRetryRequest } from '../shared/schemas/batch.ts'
import { batchAdmissionOf } from './admission.ts'
import { checkDefaults } from './batch-defaults.ts'
import { durabilityOf } from './durable.ts'
import { fingerprintRequest, readIdempotencyKey } from './idempotency.ts'
import { batchKeptAtMost } from './retention.ts'
import { readRoutingHeaders } from './routing-headers.ts'
import { checkEndpointIds } from './webhook-endpoint-ids.ts'
import { checkWebhook, openNamed, readCustomer, type SubmissionDeps } from './submission.ts'

/** Of create calls and of retries: in neither is one of them a default of the lines. */
const FIELDS = [...Object.keys(BatchRequest.shape), ...Object.keys(BatchRetryRequest.shape)]

const WINDOW_MS_MIN = 5 * 60_000
const WINDOW_MS_MAX = 7 * 86_400_000
const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

/** What the making of a batch needs of the process. */
export type BatchRequestDeps = Pick<
  SubmissionDeps,
  'ids' | 'operator' | 'egress' | 'webhookEgress' | 'credentials' | 'webhookEndpoints' | 'requireDurability'
>

/** A batch whose input is still to be found or written. */
export type BatchDraft = Omit<NewBatch, 'inputFileId'>

/** What holds for a batch where its request says nothing. */
export type BatchBase = Pick<
  NewBatch,
  | 'endpoint'
  | 'metadata'
  | 'customer'
  | 'priority'
  | 'concurrency'
  | 'maxErrors'
  | 'isOrdered'
  | 'outputExpiresAfterS'
  | 'retryOf'
  | 'webhookEndpointIds'
  | 'defaults'
> & { completionWindow: string }

/**
 * A new batch, as far as it is told without a look at its lines.
 * @throws {InvalidRequestError} with the JSON path of what is wrong.
 */
export async function draftBatch(
  request: FastifyRequest,
  body: BatchRequest,
  deps: BatchRequestDeps,
): Promise<BatchDraft> {
  const { endpoint, input_file_id: file, requests } = body
  if (endpoint !== '*') findEndpoint(endpoint)
  if (file && requests) {
    throw new InvalidRequestError('Give `input_file_id` or `requests`, not both.', 'requests')
  }
  if (!file && !requests) {
    const message = '`input_file_id` is required, or the lines themselves as `requests`.'
    throw new InvalidRequestError(message, 'input_file_id', 'missing_required_parameter')
  }
  const base: BatchBase = {
    endpoint,
    completionWindow: body.completion_window,
    metadata: {},
    customer: null,
    priority: 'normal',
    concurrency: null,
    maxErrors: null,
    isOrdered: false,
    outputExpiresAfterS: null,
    retryOf: null,
    defaults: {},
  }
  return draftFrom(
    base,
    { request, body, path: '/v1/batches', ownFields: Object.keys(BatchRequest.shape) },
    deps,
  )
}

/**
 * Lays a request over what holds without it.
 * @param given.path Of the route, without alternative spellings: part of the idempotency key's scope.
 * @param given.ownFields Names that are no defaults of the lines.
 * @throws {InvalidRequestError} with the JSON path of what is wrong.
 * @throws {NotAllowedError}
 * @throws {CredentialNotFoundError}
 */
export async function draftFrom(
  base: BatchBase,
  given: {
    request: FastifyRequest
    body: BatchRequest | BatchRetryRequest
    path: string
    ownFields: readonly string[]
  },
  deps: BatchRequestDeps,
): Promise<BatchDraft> {
  const { request, body, path, ownFields } = given
  const { tenant } = request
  const asked = Object.entries(body).filter(([name]) => !ownFields.includes(name))
  const { models, endpoints, keyId, record } = request.principal
  // Of mixed lines, and of models, each line's own tell.
  if (base.endpoint !== '*') requireEndpoint({ endpoints }, base.endpoint)
  refuseMisplaced(asked.map(([name]) => name))
  const isKeyed = bringsCredential(body)
  // The stored one that a batch had can't stand beside others.
  const kept = Object.entries(base.defaults).filter(([name]) => !(isKeyed && isCredential(name)))
  const defaults = {
    ...Object.fromEntries([...kept, ...asked]),
    ...readRoutingHeaders(request.headers),
  }
  const completionWindow = body.completion_window ?? base.completionWindow
  const expiry = body.output_expires_after
  const customer = readCustomer(request) ?? orBase(body.customer, base.customer, null)
  const named = await openNamed(defaults, tenant, deps)
  const { warnings } = checkDefaults({ fields: defaults, batchFields: ownFields, customer, named }, deps)
  const key = readIdempotencyKey(request.headers['idempotency-key']) ?? body.idempotency_key
  const endpointIds = body.webhook_endpoint_ids ?? undefined
  const whose = { tenant, customer, webhookEndpointIds: endpointIds }
  await checkEndpointIds(deps.webhookEndpoints, whose, 'webhook_endpoint_ids')
  const durability = await durabilityOf(request, body.durability, 'durability', deps)
  return {
    id: deps.ids.newBatchId(tenant),
    tenant,
    endpoint: base.endpoint,
    completionWindow,
    windowMs: readWindowMs(completionWindow),
    metadata: orBase(body.metadata, base.metadata, {}),
    customer,
    priority: orBase(body.priority, base.priority, 'normal'),
    concurrency: orBase(body.concurrency, base.concurrency, null),
    maxErrors: orBase(body.max_errors, base.maxErrors, null),
    isOrdered: orBase(body.ordered_output, base.isOrdered, false),
    outputExpiresAfterS: orBase(expiry && expiry.seconds, base.outputExpiresAfterS, null),
    retryOf: base.retryOf,
    keptAtMost: batchKeptAtMost(request),
    webhookEndpointIds: orBase(body.webhook_endpoint_ids, base.webhookEndpointIds, undefined),
    warnings,
    ...(models === null && endpoints === null ? {} : { allowed: { models, endpoints } }),
    ...(keyId === null ? {} : { key: keyId }),
    ...durability,
    admission: batchAdmissionOf({ record, customer }),
    defaults,
    webhook: checkWebhook(body.webhook, 'webhook', deps.webhookEgress),
    idempotency:
      key === undefined
        ? null
        : fingerprintRequest(deps.ids, { tenant, customer, path, key, body: request.body }),
  }
}

/** Whether a request has credentials of its own, for all lines. */
export function bringsCredential(body: Record<string, unknown>): boolean {
  return Object.entries(body).some(([name, value]) => value !== null && isCredential(name))
}

function refuseMisplaced(names: readonly string[]): void {
  const misplaced = names.find((name) => FIELDS.includes(name))
  if (misplaced === undefined) return
  const message = `\`${misplaced}\` has no place in this request. A retry is of the lines and the endpoint of its batch, with \`credentials\` for them.`
  throw new InvalidRequestError(message, misplaced, 'unknown_parameter')
}

/** Left out: as before. Null: as if it had never been said. */
function orBase<Value>(given: Value | null | undefined, base: Value, none: Value): Value {
  if (given === undefined) return base
  return given ?? none
}

/** @throws {InvalidRequestError} unless it is 24h, or another time from 5m to 7d. */
function readWindowMs(text: string): number {
  const [, count, unit = ''] = /^([1-9]\d{0,4})([mhd])$/.exec(text) ?? []
  const windowMs = Number(count) * (UNIT_MS[unit] ?? Number.NaN)
  if (windowMs >= WINDOW_MS_MIN && windowMs <= WINDOW_MS_MAX) return windowMs
  const message = '`completion_window` is `24h`, or a number and `m`, `h` or `d`, from `5m` to `7d`.'
  throw new InvalidRequestError(message, 'completion_window', 'invalid_parameter')
}
