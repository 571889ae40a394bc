import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { EgressPolicy } from '../../shared/egress.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import {
  DeletedWebhookEndpoint,
  EventType,
  PageQuery,
  RotateSecretRequest,
  WebhookEndpoint,
  WebhookEndpointList,
  WebhookEndpointRequest,
  WebhookEndpointUpdate,
  WebhookEndpointWithSecret,
  WebhookEventTypeList,
  WebhookTest,
  WebhookTestRequest,
} from '../../shared/schemas/webhook.ts'
import type { WebhookEndpoints } from '../../shared/webhooks/webhook-endpoints.ts'
import { readWebhookHeaders } from '../webhook-headers.ts'
import { found, knownPage, toEndpoint, toEndpointWithSecret, toList } from '../webhook-replies.ts'
import { testEndpoint, type WebhookTestDeps } from '../webhook-test.ts'

const OVERLAP_MS = 24 * 3_600_000

export type WebhookEndpointDeps = WebhookTestDeps & {
  webhookEndpoints: WebhookEndpoints
  webhookEgress: EgressPolicy
}

const Params = z.object({ id: z.string() })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['webhooks']
const NOUN = 'webhook endpoint'

/** `/webhook_endpoints`: OpenAI's create, list, retrieve, update, delete, rotate and test; `/webhook_event_types`. */
export function addWebhookEndpointRoutes(app: FastifyInstance, deps: WebhookEndpointDeps): void {
  const { webhookEndpoints: endpoints } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const createSchema = {
    summary: 'Create a webhook endpoint',
    description: 'The answer holds its `signing_secret`, which is shown only here and when it is rotated.',
    tags,
    body: WebhookEndpointRequest,
    response: { 200: WebhookEndpointWithSecret, ...errors },
  }
  routes.post('/webhook_endpoints', { schema: createSchema }, async (request, reply) => {
    const { name, url, event_types: eventTypes } = request.body
    const settings = { ...NOTHING_ELSE, ...readSettings(request.body), name, url, eventTypes }
    void reply.header('cache-control', 'no-store')
    return toEndpointWithSecret(await endpoints.create(request.tenant, settings))
  })

  const listSchema = {
    summary: 'List webhook endpoints, newest first',
    tags,
    querystring: PageQuery,
    response: { 200: WebhookEndpointList, ...errors },
  }
  routes.get('/webhook_endpoints', { schema: listSchema }, async (request) => {
    const page = knownPage(await endpoints.list(request.tenant, request.query), NOUN)
    return toList(page.endpoints.map(toEndpoint), page.hasMore)
  })

  const readSchema = {
    summary: 'Read a webhook endpoint',
    tags,
    params: Params,
    response: { 200: WebhookEndpoint, ...errors },
  }
  routes.get('/webhook_endpoints/:id', { schema: readSchema }, async ({ tenant, params }) =>
    toEndpoint(found(await endpoints.read(tenant, params.id), NOUN)),
  )

  const updateSchema = {
    summary: 'Change a webhook endpoint',
    description:
      'What is left out stays. `enabled: true` after it was disabled begins anew: its failures of before are forgotten.',
    tags,
    params: Params,
    body: WebhookEndpointUpdate.nullish(),
    response: { 200: WebhookEndpoint, ...errors },
  }
  routes.post('/webhook_endpoints/:id', { schema: updateSchema }, async ({ tenant, params, body }) =>
    toEndpoint(found(await endpoints.update(tenant, params.id, readSettings(body ?? {})), NOUN)),
  )

  const deleteSchema = {
    summary: 'Delete a webhook endpoint',
    description: 'What is still to be delivered to it ends as `disabled`.',
    tags,
    params: Params,
    response: { 200: DeletedWebhookEndpoint, ...errors },
  }
  routes.delete('/webhook_endpoints/:id', { schema: deleteSchema }, async ({ tenant, params: { id } }) => {
    found((await endpoints.remove(tenant, id)) || null, NOUN)
    return { id, object: 'webhook_endpoint.deleted' as const, deleted: true as const }
  })

  const rotateSchema = {
    summary: 'Make a new signing secret',
    description:
      'The old one is void at once, or signs along for 24 hours (`keep_old_secret_active_for_24_hours`) or `overlap_seconds`.',
    tags,
    params: Params,
    body: RotateSecretRequest.nullish(),
    response: { 200: WebhookEndpointWithSecret, ...errors },
  }
  routes.post('/webhook_endpoints/:id/rotate_secret', { schema: rotateSchema }, async (request, reply) => {
    const { id } = request.params
    const overlapMs = readOverlapMs(request.body ?? {})
    const record = found(await endpoints.rotate(request.tenant, id, overlapMs), NOUN)
    void reply.header('cache-control', 'no-store')
    return toEndpointWithSecret(record)
  })

  const testSchema = {
    summary: 'Send a sample event to a webhook endpoint',
    description: 'One try, signed as a delivery is; the answer says what its receiver answered.',
    tags,
    params: Params,
    body: WebhookTestRequest,
    response: { 200: WebhookTest, ...errors },
  }
  routes.post('/webhook_endpoints/:id/test', { schema: testSchema }, async (request, reply) => {
    const { tenant, params, body } = request
    const record = found(await endpoints.read(tenant, params.id), NOUN)
    return testEndpoint(reply, record, body.event_type, deps)
  })

  const typesSchema = {
    summary: 'List what webhook endpoints can be told of',
    tags,
    response: { 200: WebhookEventTypeList, ...errors },
  }
  routes.get('/webhook_event_types', { schema: typesSchema }, () => ({
    object: 'list' as const,
    data: [...EventType.options],
  }))

  /** What of a request's fields is given, checked. @throws {InvalidRequestError} */
  function readSettings(body: WebhookEndpointUpdate) {
    const { name, url, event_types: types, enabled, customer, metadata, headers } = body
    if (url !== undefined) deps.webhookEgress.checkUrl(url, 'url', { allowQuery: true })
    return {
      ...(name === undefined ? {} : { name }),
      ...(url === undefined ? {} : { url }),
      ...(types === undefined ? {} : { eventTypes: [...new Set(types)] }),
      ...(enabled === undefined ? {} : { isEnabled: enabled }),
      ...(customer === undefined ? {} : { customer }),
      ...(metadata === undefined ? {} : { metadata: metadata ?? {} }),
      ...(headers === undefined ? {} : { headers: readWebhookHeaders(headers ?? {}) }),
    }
  }
}

/** What a new endpoint has unless it is said. */
const NOTHING_ELSE = { customer: null, metadata: {}, headers: {}, isEnabled: true }

/** @throws {InvalidRequestError} when it is said twice, and not the same. */
function readOverlapMs(body: RotateSecretRequest): number {
  const { keep_old_secret_active_for_24_hours: keeps, overlap_seconds: seconds } = body
  if (seconds === undefined) return keeps === true ? OVERLAP_MS : 0
  if (keeps === true && seconds * 1000 !== OVERLAP_MS) {
    const message = 'Give `overlap_seconds` or `keep_old_secret_active_for_24_hours`, not both.'
    throw new InvalidRequestError(message, 'overlap_seconds')
  }
  return seconds * 1000
}
