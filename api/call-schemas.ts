import { z } from 'zod'
import { ENDPOINTS, type EndpointName } from '../shared/jobs/endpoints.ts'
import { ChatCompletion, REQUESTS } from '../shared/schemas/completion.ts'
import { ErrorResponse } from '../shared/schemas/error.ts'
import { Job } from '../shared/schemas/job.ts'

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
