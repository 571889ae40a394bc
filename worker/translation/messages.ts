import { answerMessage } from './messages-answer.ts'
import { askMessage } from './messages-request.ts'
import { streamMessage } from './messages-stream.ts'
import type { Translation } from './translation.ts'

/** Anthropic's Messages API by way of chat completions. */
export const messages: Translation = { request: askMessage, answer: answerMessage, stream: streamMessage }
