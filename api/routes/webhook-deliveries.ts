import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { DeliveryFilter, DeliveryLog } from '../../shared/webhooks/delivery-log.ts'
import { ConflictError, InvalidRequestError } from '../../shared/errors.ts'
import { jobIdOfResponse } from '../../shared/jobs/response-ids.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import {
  DeliveryListQuery,
  EndpointDeliveriesQuery,
  RecoverRequest,
  WebhookDelivery,
  WebhookDeliveryList,
  WebhookRecovery,
} from '../../shared/schemas/webhook.ts'
import type { WebhookEndpoints } from '../../shared/webhooks/webhook-endpoints.ts'
import { found, knownPage, toDelivery, toList } from '../webhook-replies.ts'

export type DeliveryRouteDeps = { webhookEndpoints: WebhookEndpoints; deliveryLog: DeliveryLog }

const Params = z.object({ id: z.string() })
const errors = { '4xx': ErrorResponse, '5xx': ErrorResponse }
const tags = ['webhooks']
const NOUN = 'webhook delivery'

/** `/webhook_deliveries` and what an endpoint has of them: which were made, how their tries went, and sending them again. */
export function addWebhookDeliveryRoutes(app: FastifyInstance, deps: DeliveryRouteDeps): void {
  const { webhookEndpoints: endpoints, deliveryLog: log } = deps
  const routes = app.withTypeProvider<ZodTypeProvider>()

  const ofEndpointSchema = {
    summary: "List an endpoint's deliveries, newest first",
    description:
      'With the time, status and duration of each try. What a receiver answered beside its status is not kept.',
    tags,
    params: Params,
    querystring: EndpointDeliveriesQuery,
    response: { 200: WebhookDeliveryList, ...errors },
  }
  routes.get('/webhook_endpoints/:id/deliveries', { schema: ofEndpointSchema }, async (request) => {
    const { id: endpointId } = await readEndpoint(request.tenant, request.params.id)
    const { status: state, after, limit } = request.query
    return listDeliveries(request.tenant, { endpointId, state, after, limit })
  })

  const listSchema = {
    summary: 'List deliveries, newest first',
    description: "Those of jobs' and batches' own webhooks too.",
    tags,
    querystring: DeliveryListQuery,
    response: { 200: WebhookDeliveryList, ...errors },
  }
  routes.get('/webhook_deliveries', { schema: listSchema }, async (request) => {
    const { webhook_endpoint_id: endpoint, subject, status: state, after, limit } = request.query
    const endpointId = endpoint === undefined ? undefined : (await readEndpoint(request.tenant, endpoint)).id
    return listDeliveries(request.tenant, {
      endpointId,
      // Of the events about a response the job is what they are kept under.
      subject: subject === undefined ? undefined : jobIdOfResponse(subject),
      state,
      after,
      limit,
    })
  })

  const readSchema = {
    summary: 'Read a delivery',
    tags,
    params: Params,
    response: { 200: WebhookDelivery, ...errors },
  }
  routes.get('/webhook_deliveries/:id', { schema: readSchema }, async ({ tenant, params }) =>
    toDelivery(found(await log.read(tenant, params.id), NOUN)),
  )

  const redeliverSchema = {
    summary: 'Deliver again',
    description:
      'Under the same `webhook-id`, and with all its tries anew; one that waits for its next try is tried now. A result that was sent along is erased once it was accepted: then 409. So it is when its endpoint is disabled.',
    tags,
    params: Params,
    response: { 202: WebhookDelivery, ...errors },
  }
  routes.post('/webhook_deliveries/:id/redeliver', { schema: redeliverSchema }, async (request, reply) => {
    const { tenant, params } = request
    const { endpointId } = found(await log.read(tenant, params.id), NOUN)
    if (endpointId !== null) await readEnabled(tenant, endpointId)
    const again = await log.redeliver(tenant, params.id)
    if (again.kind === 'erased') {
      const message =
        'This delivery carried a result, which was erased when its receiver accepted it. Read the job instead.'
      throw new ConflictError(message, 'payload_erased')
    }
    return reply.code(202).send(toDelivery(found('delivery' in again ? again.delivery : null, NOUN)))
  })

  const recoverSchema = {
    summary: 'Deliver again what an endpoint missed',
    description: 'All that was made for it from `since` until `until` and not accepted, oldest first.',
    tags,
    params: Params,
    body: RecoverRequest,
    response: { 202: WebhookRecovery, ...errors },
  }
  routes.post('/webhook_endpoints/:id/recover', { schema: recoverSchema }, async (request, reply) => {
    const { tenant, params, body } = request
    const { id } = await readEnabled(tenant, params.id)
    const untilMs = body.until === undefined ? Infinity : body.until * 1000
    if (untilMs < body.since * 1000) {
      throw new InvalidRequestError('`until` lies before `since`.', 'until', 'invalid_parameter')
    }
    const redelivered = await log.recover(tenant, id, body.since * 1000, untilMs)
    const answer = { object: 'webhook_endpoint.recovery' as const, webhook_endpoint_id: id, redelivered }
    return reply.code(202).send(answer)
  })

  async function readEndpoint(tenant: string, id: string) {
    return found(await endpoints.read(tenant, id), 'webhook endpoint')
  }

  async function readEnabled(tenant: string, id: string) {
    const endpoint = await readEndpoint(tenant, id)
    if (!endpoint.disabled) return endpoint
    const message = 'Nothing is sent to a webhook endpoint that is disabled. Enable it first.'
    throw new ConflictError(message, 'webhook_endpoint_disabled')
  }

  async function listDeliveries(tenant: string, filter: DeliveryFilter) {
    const page = knownPage(await log.list(tenant, filter), NOUN)
    return toList(page.deliveries.map(toDelivery), page.hasMore, page.goOnFrom)
  }
}
