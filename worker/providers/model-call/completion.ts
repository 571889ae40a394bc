import type {
  LanguageModelV4Content,
  LanguageModelV4FinishReason,
  LanguageModelV4ToolCall,
  LanguageModelV4Usage,
} from '@ai-sdk/provider'
import { randomBytes } from 'node:crypto'
import { redactedOf, signatureOf, type ThinkingBlock } from './part-options.ts'

type JsonObject = Record<string, unknown>

/** Who answered: what is said in every chunk, and in the whole. */
export type AnswerHead = {
  id: string
  /** Unix seconds. */
  created: number
  /** The one that was asked. */
  model: string
  /** The request had OpenAI's old `functions`: a call is told in the old way too. */
  isLegacy: boolean
}

/** @param id The provider's own; null: it gave none. */
export function answerHead(id: string | null | undefined, model: string, body: JsonObject): AnswerHead {
  return {
    id: id ?? `chatcmpl-${randomBytes(12).toString('hex')}`,
    created: Math.floor(Date.now() / 1000),
    model,
    isLegacy: body['functions'] !== undefined && body['tools'] === undefined,
  }
}

/** An answer as OpenAI's chat completion, with LiteLLM's fields for what OpenAI has no word for. */
export function toCompletion(
  { id, created, model, isLegacy }: AnswerHead,
  content: readonly LanguageModelV4Content[],
  finish: { reason: string | null; usage: LanguageModelV4Usage },
): JsonObject {
  const message = toMessage(content, isLegacy)
  const choice = { index: 0, message, logprobs: null, finish_reason: finish.reason }
  const usage = toUsage(finish.usage)
  return { id, object: 'chat.completion', created, model, choices: [choice], ...(usage ? { usage } : {}) }
}

/** Why an answer ended, in OpenAI's words; null when it did not end as an answer does. */
export function finishReason(
  { unified, raw }: LanguageModelV4FinishReason,
  hasCalls: boolean,
  isLegacy: boolean,
): string | null {
  // A stream that just stopped has no reason of its own, whatever the package calls it.
  if (raw === undefined || unified === 'error') return null
  if (unified === 'length') return 'length'
  if (unified === 'content-filter') return 'content_filter'
  if (hasCalls) return isLegacy ? 'function_call' : 'tool_calls'
  return 'stop'
}

/** Calls that the client is to make; those of the provider's own tools are made already. */
export function clientCalls(content: readonly LanguageModelV4Content[]): LanguageModelV4ToolCall[] {
  return content.filter((part) => part.type === 'tool-call').filter((call) => !call.providerExecuted)
}

/** Tokens as OpenAI tells them; null when the provider did not. Reasoning is part of the output, cached input of the input. */
export function toUsage({ inputTokens, outputTokens }: LanguageModelV4Usage): JsonObject | null {
  if (inputTokens.total === undefined && outputTokens.total === undefined) return null
  const [input, output] = [inputTokens.total ?? 0, outputTokens.total ?? 0]
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: inputTokens.cacheRead ?? 0 },
    completion_tokens_details: { reasoning_tokens: outputTokens.reasoning ?? 0 },
    ...(inputTokens.cacheWrite ? { cache_creation_input_tokens: inputTokens.cacheWrite } : {}),
  }
}

/** One call in OpenAI's form, with Gemini's signature where LiteLLM has it. */
export function toToolCall({
  toolCallId,
  toolName,
  input,
  providerMetadata,
}: LanguageModelV4ToolCall): JsonObject {
  return {
    id: toolCallId,
    type: 'function',
    function: { name: toolName, arguments: input },
    ...specificFields(signatureOf(providerMetadata)),
  }
}

/** Where a call keeps the signature that Gemini wants back. */
export function specificFields(signature: string | null): JsonObject {
  return signature === null ? {} : { provider_specific_fields: { thought_signature: signature } }
}

/** A part of thinking as the block that goes back to the model; null when it can't: it is not signed. */
export function toThinkingBlock(part: {
  text: string
  providerMetadata?: LanguageModelV4ToolCall['providerMetadata']
}): ThinkingBlock | null {
  const signature = signatureOf(part.providerMetadata)
  if (signature !== null) return { type: 'thinking', thinking: part.text, signature }
  const data = redactedOf(part.providerMetadata)
  return data === null ? null : { type: 'redacted_thinking', data }
}

function toMessage(content: readonly LanguageModelV4Content[], isLegacy: boolean): JsonObject {
  const texts = content.filter((part) => part.type === 'text')
  const thoughts = content.filter((part) => part.type === 'reasoning')
  const blocks = thoughts.map(toThinkingBlock).filter((block) => block !== null)
  const calls = clientCalls(content).map(toToolCall)
  const images = content.filter((part) => part.type === 'file').map(toImage)
  const signatures = texts.map((part) => signatureOf(part.providerMetadata)).filter((each) => each !== null)
  const text = texts.map((part) => part.text).join('')
  const reasoning = thoughts.map((part) => part.text).join('')
  return {
    role: 'assistant',
    content: text === '' && calls.length > 0 ? null : text,
    refusal: null,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(blocks.length > 0 ? { thinking_blocks: blocks } : {}),
    ...(signatures.length > 0 ? { provider_specific_fields: { thought_signatures: signatures } } : {}),
    ...(images.length > 0 ? { images } : {}),
    ...callFields(calls, isLegacy),
  }
}

function callFields(calls: JsonObject[], isLegacy: boolean): JsonObject {
  if (calls.length === 0) return {}
  return isLegacy ? { function_call: calls[0]?.['function'] } : { tool_calls: calls }
}

/** An image that the model has made, in LiteLLM's form. */
export function toImage(file: Extract<LanguageModelV4Content, { type: 'file' }>, index: number): JsonObject {
  const { data, mediaType } = file
  const url =
    data.type === 'url'
      ? data.url.toString()
      : `data:${mediaType};base64,${typeof data.data === 'string' ? data.data : Buffer.from(data.data).toString('base64')}`
  return { type: 'image_url', image_url: { url }, index }
}
