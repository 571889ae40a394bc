import type { FastifyContextConfig, FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { ENDPOINTS, type EndpointName } from '../../shared/endpoints.ts'
import { ChatCompletion, REQUESTS } from '../../shared/schemas/completion.ts'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { Job } from '../../shared/schemas/job.ts'
import type { Calls } from '../calls.ts'

const SUMMARIES: Record<EndpointName, string> = {
  chat: 'Create a chat completion',
  responses: 'Create a response',
  messages: "Create a message in Anthropic's form",
  completions: 'Create a completion (legacy)',
  embeddings: 'Create embeddings',
  moderations: 'Classify text',
}
const WAITING =
  'Waits for the result. With `Prefer: respond-async` the answer is a 202 and a job; with `Prefer: wait=N` the result if it is there within N seconds, else the 202.'
const STREAMING = ' `stream: true` answers with server-sent events; `Prefer` does not count then.'

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
    const config: FastifyContextConfig = name === 'messages' ? { errorShape: 'anthropic' } : {}
    const schema = callSchema(name)
    routes.post(path.replace('/v1', ''), { schema, config }, async (request, reply) => {
      await calls.answer(request, reply, { endpoint: name, body: request.body })
      return reply
    })
  }
}

/**
 * The same in Azure's form, `POST /openai/deployments/{model}/chat/completions?api-version=`: the model is in the path, a body's
 * own counts for nothing.
 */
export function addAzureRoutes(app: FastifyInstance, calls: Calls): void {
  const routes = app.withTypeProvider<ZodTypeProvider>()
  // The body's schema asks for a model.
  const preValidation = async ({ params, body }: FastifyRequest): Promise<void> => {
    const { model } = params as { model: string } // by the URL below
    if (typeof body === 'object' && body !== null) Object.assign(body, { model })
  }
  for (const { name, path } of ENDPOINTS) {
    if (!BY_DEPLOYMENT.includes(name)) continue
    const schema = callSchema(name)
    const url = `/openai/deployments/:model${path.replace('/v1', '')}`
    routes.post(url, { schema, preValidation }, async (request, reply) => {
      await calls.answer(request, reply, { endpoint: name, body: request.body })
      return reply
    })
  }
}

/** What the docs say of a call, and what its body must be. */
export function callSchema<Name extends EndpointName>(name: Name) {
  const canStream = ENDPOINTS.some((endpoint) => endpoint.name === name && endpoint.canStream)
  return {
    summary: SUMMARIES[name],
    description: canStream ? WAITING + STREAMING : WAITING,
    tags: ['completions'],
    body: REQUESTS[name],
    response: {
      200: name === 'chat' ? ChatCompletion : z.looseObject({}),
      202: Job,
      '4xx': ErrorResponse,
      '5xx': ErrorResponse,
    },
  }
}
