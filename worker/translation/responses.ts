import { answerResponse } from './responses-answer.ts'
import { askResponse } from './responses-request.ts'
import { streamResponse } from './responses-stream.ts'
import type { Translation } from './translation.ts'

/** OpenAI's Responses API by way of chat completions. */
export const responses: Translation = { request: askResponse, answer: answerResponse, stream: streamResponse }
