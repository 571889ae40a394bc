import { createChatAnswer, type ChatAnswer, type ChatUsage } from './chat-answer.ts'
import { itemsOf, tellItem, type ItemStatus } from './responses-items.ts'

type JsonObject = Record<string, unknown>

/** How far an answer is: `running` until its last piece has come. */
export type AnswerState = 'running' | 'ended'

/** A whole chat completion as a Response. */
export function answerResponse(completion: JsonObject, request: JsonObject): JsonObject {
  const chat = createChatAnswer()
  chat.add(completion)
  chat.end()
  return tellResponse(chat.read(), request, 'ended')
}

/**
 * What a chat completion has said as a Response. Its id is made of the completion's and stands nowhere else, so that
 * another can be put in its place; those of its items are made the same way and are to stay.
 *
 * @see https://platform.openai.com/docs/api-reference/responses/object
 */
export function tellResponse(answer: ChatAnswer, request: JsonObject, state: AnswerState): JsonObject {
  const reason = incompleteReason(answer)
  const status = state === 'running' ? 'in_progress' : reason ? 'incomplete' : 'completed'
  return {
    id: `resp_${answer.idStem}`,
    object: 'response',
    created_at: answer.createdAt,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason } : null,
    model: answer.model ?? request['model'] ?? null,
    output: tellOutput(answer, status),
    usage: state === 'ended' && answer.usage ? tellUsage(answer.usage) : null,
    ...echo(request),
    service_tier: answer.serviceTier ?? request['service_tier'] ?? null,
  }
}

/** Why an answer is not all that the model had to say; null: it is. */
export function incompleteReason({ finishReason }: ChatAnswer): string | null {
  if (finishReason === 'length') return 'max_output_tokens'
  return finishReason === 'content_filter' ? 'content_filter' : null
}

/** All items but the last are complete when the next has begun. */
function tellOutput(answer: ChatAnswer, status: ItemStatus): JsonObject[] {
  const items = itemsOf(answer)
  return items.map((item, place) => tellItem(item, place === items.length - 1 ? status : 'completed'))
}

function tellUsage({ input, cached, cacheWritten, output, reasoning, total }: ChatUsage): JsonObject {
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: cached, cache_write_tokens: cacheWritten },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning ?? 0 },
    total_tokens: total,
  }
}

/** What of the request a Response tells again; what stands for a setting that was not given, where the API says it. */
const ECHOED: JsonObject = {
  background: false,
  instructions: null,
  max_output_tokens: null,
  max_tool_calls: null,
  metadata: {},
  parallel_tool_calls: true,
  previous_response_id: null,
  prompt_cache_key: null,
  safety_identifier: null,
  store: true,
  // Which ones the provider takes by itself is not known.
  temperature: null,
  tool_choice: 'auto',
  tools: [],
  top_logprobs: 0,
  top_p: null,
  truncation: 'disabled',
  user: null,
}

function echo(request: JsonObject): JsonObject {
  const given = Object.entries(ECHOED).map(([name, other]) => [name, request[name] ?? other])
  return {
    ...Object.fromEntries(given),
    reasoning: { effort: null, summary: null, ...objectOf(request['reasoning']) },
    text: { format: { type: 'text' }, ...objectOf(request['text']) },
  }
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {}
}
