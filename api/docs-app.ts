import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { fastify, type FastifyInstance, type RouteOptions } from 'fastify'
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
} from '../shared/schemas/completion.ts'
import { Batch, BatchRequest, BatchRetryRequest, BatchWebhook } from '../shared/schemas/batch.ts'
import { ErrorResponse } from '../shared/schemas/error.ts'
import { Attempt, Job, JobOptions, JobWebhook } from '../shared/schemas/job.ts'

// Everything from here and nothing else. Without `upgrade-insecure-requests`: over plain http on a host that is not this
// machine the page would stay blank.
const CSP =
  "default-src 'self'; base-uri 'self'; font-src 'self' data:; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; script-src 'self'; script-src-attr 'none'; style-src 'self'"

/** A route as it is described. */
export type DescribedRoute = Pick<RouteOptions, 'method' | 'url' | 'schema'>

/** An app of its own that describes routes of another one: it serves the page, and answers none of them. */
export async function buildDocs(routes: readonly DescribedRoute[]): Promise<FastifyInstance> {
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

  const app = fastify({ exposeHeadRoutes: false, routerOptions: { ignoreTrailingSlash: true } })
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
    transform,
    transformObject: createJsonSchemaTransformObject({ schemaRegistry }),
  })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: CSP, uiConfig: { validatorUrl: null } })
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => JSON.stringify)
  await app.register(async (scope) => {
    for (const route of routes) scope.route({ ...route, handler: describedOnly })
  })
  await app.ready()
  return app
}

function describedOnly(): never {
  throw new Error('A route that is only described was called.')
}
