import type { FastifyContextConfig, FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { ENDPOINTS, type EndpointName } from '../../shared/jobs/endpoints.ts'
import { callSchema } from '../call-schemas.ts'
import type { Calls } from '../calls.ts'

/** What Azure's SDK calls by a deployment in the path. */
const BY_DEPLOYMENT: readonly EndpointName[] = ['chat', 'completions', 'embeddings']

/**
 * The calls of completions of every form, run as jobs: `POST /chat/completions`, `/messages`, `/completions`, `/embeddings`,
 * `/moderations`. `/responses` is in responses.ts.
 */
export function addCompletionRoutes(app: FastifyInstance, calls: Calls): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()
  for (const { name, path } of ENDPOINTS) {
    if (name === 'responses') continue
    const config: FastifyContextConfig = {
      isFoundAgain: true,
      ...(name === 'messages' ? { errorShape: 'anthropic' } : {}),
    }
    const schema = callSchema(name)
    routes.post(path.replace('/v1', ''), { schema, config }, async (request, reply) => {
      await calls.answer(request, reply, { endpoint: name, body: request.body })
      return reply
    })
  }
}

const DEPLOYMENT_URL =
  /^\/openai\/deployments\/([^?]+?)\/(chat\/completions|completions|embeddings)(?=\/?(?:\?|$))/

/** A URL in Azure's form with its model as one segment: not all SDKs escape the slash of `openai/gpt-4o`. */
export function escapeDeployment(url: string): string {
  return url.replace(DEPLOYMENT_URL, (whole, model: string, endpoint: string) =>
    model.includes('/') ? `/openai/deployments/${model.replaceAll('/', '%2F')}/${endpoint}` : whole,
  )
}

/**
 * The same in Azure's form, `POST /openai/deployments/{model}/chat/completions?api-version=`: the model is in the path, a body's
 * own counts for nothing.
 */
export function addAzureRoutes(app: FastifyInstance, calls: Calls): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()
  for (const { name, path } of ENDPOINTS) {
    if (!BY_DEPLOYMENT.includes(name)) continue
    const schema = callSchema(name)
    const url = `/openai/deployments/:model${path.replace('/v1', '')}`
    const config = { isFoundAgain: true }
    routes.post(url, { schema, config, preValidation: takeModel }, async (request, reply) => {
      await calls.answer(request, reply, { endpoint: name, body: request.body })
      return reply
    })
  }
}

// The body's schema asks for a model.
async function takeModel({ params, body }: FastifyRequest): Promise<void> {
  const { model } = params as { model: string } // by the route's URL
  if (typeof body === 'object' && body !== null) Object.assign(body, { model })
}
