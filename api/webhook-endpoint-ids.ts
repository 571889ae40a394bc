import { InvalidRequestError } from '../shared/errors.ts'
import type { WebhookEndpoints } from '../shared/webhooks/webhook-endpoints.ts'

/** What is to be told to endpoints by their ids. */
type Telling = {
  tenant: string
  customer: string | null
  webhookEndpointIds?: readonly string[] | undefined
}

/**
 * Refuses a submit that names endpoints which would not be told.
 * @param path Of the field, as the client sent it.
 * @throws {InvalidRequestError} for one that is unknown (another tenant's is), disabled, or another customer's.
 */
export async function checkEndpointIds(
  endpoints: Pick<WebhookEndpoints, 'standings'>,
  { tenant, customer, webhookEndpointIds: named = [] }: Telling,
  path: string,
): Promise<void> {
  if (named.length === 0) return
  for (const [position, standing] of (await endpoints.standings(tenant, named)).entries()) {
    const param = `${path}[${position}]`
    if (standing.kind === 'unknown') {
      const message = `\`${param}\` is no webhook endpoint. Look at GET /v1/webhook_endpoints.`
      throw new InvalidRequestError(message, param, 'webhook_endpoint_not_found')
    }
    if (standing.kind === 'disabled') {
      const message = `The webhook endpoint that \`${param}\` names is disabled. Enable it first, or name another.`
      throw new InvalidRequestError(message, param, 'webhook_endpoint_disabled')
    }
    if (standing.customer !== null && standing.customer !== customer) {
      const message = `The webhook endpoint that \`${param}\` names is told of another customer only.`
      throw new InvalidRequestError(message, param, 'webhook_endpoint_of_another_customer')
    }
  }
}
