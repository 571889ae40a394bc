import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { isObject } from './error-body.ts'

type JsonObject = Record<string, unknown>

/** The list that an endpoint's answers have. */
const LISTS: Record<EndpointName, string> = {
  chat: 'choices',
  completions: 'choices',
  embeddings: 'data',
  moderations: 'results',
  responses: 'output',
  messages: 'content',
}

/** Whether a JSON object is what an endpoint answers with. */
export function isAnswer(endpoint: EndpointName, answer: JsonObject): boolean {
  return Array.isArray(answer[LISTS[endpoint]])
}

/** Whether the provider's content filter ended the answer: its first choice, a response, or a message. */
export function isFiltered(answer: JsonObject): boolean {
  const { choices, incomplete_details: details } = answer
  if (isObject(details)) return details['reason'] === 'content_filter'
  if (answer['stop_reason'] === 'refusal') return true
  const first: unknown = Array.isArray(choices) ? choices[0] : null
  return isObject(first) && first['finish_reason'] === 'content_filter'
}

/** Whether an answer's `error` says something: some send an empty one beside every completion. */
export function isTold(error: unknown): boolean {
  return isObject(error) ? Object.keys(error).length > 0 : Boolean(error)
}

/**
 * Why the first choice of a completion broke off; null when it did not. OpenRouter says so in the choice of a 200, when the
 * host of the model failed while it was answering.
 * @see https://openrouter.ai/docs/api/reference/overview#completionsresponse-format
 */
export function breakOf({ choices }: JsonObject): unknown {
  const first: unknown = Array.isArray(choices) ? choices[0] : null
  if (!isObject(first)) return null
  if (isTold(first['error'])) return first['error']
  if (first['finish_reason'] !== 'error') return null
  return { code: 502, message: 'The provider broke off its answer (finish_reason: error).' }
}
