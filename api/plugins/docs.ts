import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import {
  ChatCompletion,
  ChatCompletionRequest,
  CompletionRequest,
  EmbeddingRequest,
  JobRequest,
  MessageRequest,
  ModerationRequest,
  ResponseRequest,
} from '../../shared/schemas/completion.ts'
import { Batch, BatchRequest, BatchRetryRequest, BatchWebhook } from '../../shared/schemas/batch.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Attempt, Job, JobOptions, JobWebhook } from '../../shared/schemas/job.ts'

// Everything from here and nothing else. Without `upgrade-insecure-requests`: over plain http on a host that is not this
// machine the page would stay blank.
const CSP =
  "default-src 'self'; base-uri 'self'; font-src 'self' data:; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; script-src 'self'; script-src-attr 'none'; style-src 'self'"

/** Serves `/openapi.json` and, offline too, a page to read and try it at `/docs`. Register before the routes. */
export async function addDocs(app: FastifyInstance): Promise<void> {
  const schemaRegistry = z.registry<{ id: string }>()
  const named = {
    Attempt,
    Batch,
    BatchRequest,
    BatchRetryRequest,
    BatchWebhook,
    ChatCompletion,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    ErrorResponse,
    Job,
    JobOptions,
    JobRequest,
    JobWebhook,
    MessageRequest,
    ModerationRequest,
    ResponseRequest,
  }
  for (const [id, schema] of Object.entries(named)) schemaRegistry.add(schema, { id })
  const transform = createJsonSchemaTransform({ schemaRegistry })

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'byok-gateway',
        version: '1',
        description: "LLM completions on your users' own provider keys, as jobs that survive.",
      },
      components: { securitySchemes: { gatewayKey: { type: 'http', scheme: 'bearer' } } },
      security: [{ gatewayKey: [] }],
    },
    // Every route exists a second time without `/v1`; one of the two is enough to read.
    transform: (route) =>
      route.url.startsWith('/v1/') ? transform(route) : { schema: { hide: true }, url: route.url },
    transformObject: createJsonSchemaTransformObject({ schemaRegistry }),
  })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: CSP, uiConfig: { validatorUrl: null } })
  app.get('/openapi.json', () => app.swagger())
}
