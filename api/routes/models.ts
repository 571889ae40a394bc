import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { isModelAllowed } from '../../shared/tenants/allowed.ts'
import { GatewayError } from '../../shared/errors.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'

const Model = z.object({
  id: z.string(),
  object: z.literal('model'),
  /** Unix seconds: since when this process serves it. */
  created: z.number().int(),
  owned_by: z.string(),
})

/** `/models`: the operator's model groups in OpenAI's shape. What clients bring along is their own business. */
export function addModelRoutes(app: FastifyInstance, names: readonly string[]): void {
  const created = Math.floor(Date.now() / 1000)
  const models = names.map((id) => ({ id, object: 'model' as const, created, owned_by: 'operator' }))
  const routes = app.withTypeProvider<ZodTypeProvider>()
  const tags = ['models']

  const listSchema = {
    summary: "List the operator's models",
    description: 'Those that the key may ask for.',
    tags,
    response: { 200: z.object({ object: z.literal('list'), data: z.array(Model) }), '4xx': ErrorResponse },
  }
  routes.get('/models', { schema: listSchema }, ({ principal }) => ({
    object: 'list' as const,
    data: models.filter(({ id }) => isModelAllowed(principal, id)),
  }))

  // A wildcard, since model names hold slashes.
  const readSchema = {
    summary: 'Read one model',
    tags,
    params: z.object({ '*': z.string() }),
    response: { 200: Model, '4xx': ErrorResponse },
  }
  routes.get('/models/*', { schema: readSchema }, (request) => {
    const model = models.find(({ id }) => id === request.params['*'])
    if (model && isModelAllowed(request.principal, model.id)) return model
    throw new GatewayError(404, 'invalid_request_error', 'model_not_found', 'No such model.', {
      param: 'model',
      shouldRetry: false,
    })
  })
}
