import { echoRequest } from '../../shared/jobs/response-echo.ts'
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
    ...echoRequest(request),
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
