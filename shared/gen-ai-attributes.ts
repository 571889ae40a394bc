import { endpointAt } from './jobs/endpoints.ts'
import type { EndedCall } from './tracing.ts'

/** What a span says of itself. */
export type SpanFacts = Record<string, string | number | boolean | string[]>

// A longer answer is not parsed a second time for the sake of its trace.
const LOOKED_THROUGH_BYTES_MAX = 256 * 1024

// Names of models and the like are texts of clients and providers: what is none of these is left out.
const NAME = /^[\w.:/@+-]{1,100}$/

/** By OpenTelemetry's names; a provider without one goes by ours. */
const PROVIDERS: Record<string, string> = {
  'text-completion-openai': 'openai',
  azure: 'azure.ai.openai',
  azure_text: 'azure.ai.openai',
  azure_ai: 'azure.ai.inference',
  gemini: 'gcp.gemini',
  vertex_ai: 'gcp.vertex_ai',
  vertex_ai_beta: 'gcp.vertex_ai',
  bedrock: 'aws.bedrock',
  mistral: 'mistral_ai',
  codestral: 'mistral_ai',
  cohere_chat: 'cohere',
  xai: 'x_ai',
}

const OPERATIONS: Record<string, string> = {
  chat: 'chat',
  responses: 'chat',
  messages: 'chat',
  completions: 'text_completion',
  embeddings: 'embeddings',
  moderations: 'moderation',
}

/** A name as it may be told; undefined: it is no name, or may be an address. */
export function nameOf(text: unknown): string | undefined {
  return typeof text === 'string' && NAME.test(text) && !text.includes('://') ? text : undefined
}

/**
 * A call of a provider in the words of OpenTelemetry's conventions for generative AI: which model, how many tokens, how it
 * ended. Nothing of what was asked or answered, no address, nobody's name.
 * @see https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
 */
export function genAiFacts(call: EndedCall): { name: string; facts: SpanFacts } {
  const { attempt, deployment, body, cachedTokens, firstTokenMs } = call
  const operation = OPERATIONS[endpointAt(call.endpoint)?.name ?? ''] ?? 'chat'
  const model = nameOf(deployment.model)
  const facts: SpanFacts = {
    'gen_ai.operation.name': operation,
    'gen_ai.provider.name': PROVIDERS[deployment.provider] ?? deployment.provider,
    'byok.attempt.number': attempt.number,
    'byok.attempt.possibly_billed': attempt.possibly_billed,
    'byok.deployment.id': deployment.id,
  }
  const also: Record<string, SpanFacts[string] | null | undefined> = {
    'gen_ai.request.model': model,
    'gen_ai.usage.input_tokens': attempt.input_tokens,
    'gen_ai.usage.output_tokens': attempt.output_tokens,
    'gen_ai.usage.cache_read.input_tokens': cachedTokens,
    'gen_ai.request.stream': firstTokenMs === null ? null : true,
    'gen_ai.response.time_to_first_chunk': firstTokenMs === null ? null : firstTokenMs / 1_000,
    'http.response.status_code': attempt.status_code,
    'error.type': attempt.outcome === 'completed' ? null : (attempt.error_class ?? attempt.outcome),
    ...(body === null ? {} : answerFacts(body)),
  }
  for (const [key, value] of Object.entries(also)) {
    if (value !== null && value !== undefined) facts[key] = value
  }
  return { name: model === undefined ? operation : `${operation} ${model}`, facts }
}

/** Of an answer in the form of any endpoint: its id, its model, and why it ended. */
function answerFacts(body: Buffer): Record<string, string | string[] | undefined> {
  if (body.length > LOOKED_THROUGH_BYTES_MAX) return {}
  const { id, model, choices, stop_reason: stop } = parseObject(body)
  const reasons = (Array.isArray(choices) ? choices : []).map((choice: unknown) =>
    typeof choice === 'object' && choice !== null && 'finish_reason' in choice ? choice.finish_reason : null,
  )
  const named = [...reasons, stop].flatMap((reason) => nameOf(reason) ?? [])
  return {
    'gen_ai.response.id': nameOf(id),
    'gen_ai.response.model': nameOf(model),
    'gen_ai.response.finish_reasons': named.length > 0 ? named : undefined,
  }
}

function parseObject(body: Buffer): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(body.toString())
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {}
  } catch {
    return {}
  }
}
