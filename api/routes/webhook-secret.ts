import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { Customer } from '../../shared/schemas/completion.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { deriveWebhookSecret } from '../../shared/webhooks/signature.ts'

const WebhookSecret = z.object({
  object: z.literal('webhook_secret'),
  customer: z.string().nullable(),
  secret: z.string(),
})

/** `GET /webhook_secret`: what signs the webhooks of the tenant's jobs (and this customer's) that bring no secret. */
export function addWebhookSecretRoute(app: FastifyInstance, idSecret: string): void {
  // Whoever has it can sign in the gateway's place: it is for those who ask for webhooks, not for all who may read.
  const config = { scope: 'submit' as const }
  const schema = {
    summary: 'Read the default webhook secret of the tenant, or of one customer',
    tags: ['webhooks'],
    querystring: z.strictObject({ customer: Customer.optional() }),
    response: { 200: WebhookSecret, '4xx': ErrorResponse },
  }
  app
    .withTypeProvider<ZodTypeProvider>()
    .get('/webhook_secret', { schema, config }, async (request, reply) => {
      const { customer = null } = request.query
      void reply.header('cache-control', 'no-store')
      const secret = deriveWebhookSecret(idSecret, request.tenant, customer)
      return { object: 'webhook_secret' as const, customer, secret }
    })
}
