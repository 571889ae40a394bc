import type { LanguageModelV4Message, LanguageModelV4Prompt } from '@ai-sdk/provider'
import { isObject, parseJson } from '../error-body.ts'
import { neededText, objectsIn, textIn, type Fields } from './fields.ts'
import type { MediaLoader } from './media.ts'
import { partOptions, signedOptions, thinkingOptions } from './part-options.ts'
import { RequestFault } from './request-fault.ts'
import { textsOf, toolOutput, userParts } from './prompt-parts.ts'
import type { Warnings } from './warnings.ts'

type Context = { load: MediaLoader; warnings: Warnings }
type Assistant = Extract<LanguageModelV4Message, { role: 'assistant' }>['content']
type ToolResult = Extract<LanguageModelV4Message, { role: 'tool' }>['content'][number]

/**
 * OpenAI's messages as a prompt. System and developer messages all go to the front, as LiteLLM does: no provider but OpenAI
 * takes them between turns, and of the packages two throw and one moves them without a word. Where there are no others, the
 * last of them becomes the user's: nobody answers to instructions alone.
 * @throws {RequestFault}
 */
export async function toPrompt(body: Fields, context: Context): Promise<LanguageModelV4Prompt> {
  const messages = objectsIn(body, 'messages')
  if (messages.length === 0) throw new RequestFault('messages is empty.', 'messages')
  const system: LanguageModelV4Prompt = []
  const turns: LanguageModelV4Prompt = []
  const calls = createCallNames()
  for (const [index, message] of messages.entries()) {
    const place = `messages[${index}]`
    const role = message['role']
    noteUnsaid(message, context.warnings)
    if (role === 'system' || role === 'developer') {
      if (turns.length > 0) context.warnings.say(MOVED)
      for (const part of textsOf(message, place))
        system.push({ role: 'system', content: part.text, ...partOptions(part.fields) })
    } else if (role === 'user') {
      turns.push({
        role: 'user',
        content: await userParts(message, place, context.load),
        ...partOptions(message),
      })
    } else if (role === 'assistant') {
      const content = assistantParts(message, place, calls, context.warnings)
      if (content.length > 0) turns.push({ role: 'assistant', content, ...partOptions(message) })
    } else if (role === 'tool' || role === 'function') {
      pushResult(turns, await toolResult(message, place, calls, context.load))
    } else throw new RequestFault(`${place}.role is none that is known.`, `${place}.role`)
  }
  const last = turns.length === 0 ? system.pop() : undefined
  if (last?.role === 'system') turns.push({ role: 'user', content: [{ type: 'text', text: last.content }] })
  return [...system, ...turns]
}

function noteUnsaid({ role, name, content }: Fields, warnings: Warnings): void {
  if (name && role !== 'tool' && role !== 'function') warnings.leftOut('messages.name')
  const images = Array.isArray(content)
    ? content.map((part) => (isObject(part) ? part['image_url'] : null))
    : []
  if (images.some((image) => isObject(image) && (image['detail'] === 'low' || image['detail'] === 'high'))) {
    warnings.leftOut('image_url.detail')
  }
}

const MOVED = 'messages: system messages between the turns were moved to the front.'

/** Names of called tools by the id of the call, which is all that a result says. */
type CallNames = ReturnType<typeof createCallNames>

function createCallNames() {
  const names = new Map<string, string>()
  let legacy = 0
  return {
    note: (id: string, name: string) => void names.set(id, name),
    nameOf: (id: string) => names.get(id),
    /** OpenAI's old function calls have no ids: the newest is the one that is answered. */
    noteLegacy(name: string): string {
      legacy += 1
      names.set(`function_call_${legacy}`, name)
      return `function_call_${legacy}`
    },
    lastLegacy: () => `function_call_${legacy}`,
  }
}

function assistantParts(message: Fields, place: string, calls: CallNames, warnings: Warnings): Assistant {
  const parts: Assistant = []
  for (const block of objectsIn(message, 'thinking_blocks', `${place}.thinking_blocks`)) {
    const providerOptions = thinkingOptions(block)
    const text = typeof block['thinking'] === 'string' ? block['thinking'] : ''
    // Thinking without a signature is refused by all that look at it.
    if (providerOptions) parts.push({ type: 'reasoning', text, providerOptions })
  }
  const texts = typeof message['content'] === 'object' || message['content'] ? textsOf(message, place) : []
  const signatures = isObject(message['provider_specific_fields'])
    ? message['provider_specific_fields']['thought_signatures']
    : null
  for (const [index, { text, fields }] of texts.entries()) {
    const signature: unknown = index === 0 && Array.isArray(signatures) ? signatures[0] : null
    if (text !== '') parts.push({ type: 'text', text, ...signedOptions(signature), ...partOptions(fields) })
  }
  const refusal = textIn(message, 'refusal', `${place}.refusal`)
  if (refusal) parts.push({ type: 'text', text: refusal })
  if (message['audio'] !== undefined && message['audio'] !== null) warnings.leftOut('messages.audio')
  return [...parts, ...toolCalls(message, place, calls)]
}

function toolCalls(message: Fields, place: string, calls: CallNames): Assistant {
  const parts: Assistant = []
  for (const [index, call] of objectsIn(message, 'tool_calls', `${place}.tool_calls`).entries()) {
    const at = `${place}.tool_calls[${index}]`
    const called = call['function']
    if (!isObject(called)) throw new RequestFault(`${at} is no call of a function.`, at)
    const id = neededText(call, 'id', `${at}.id`)
    const name = neededText(called, 'name', `${at}.function.name`)
    calls.note(id, name)
    const input = argumentsOf(called, `${at}.function.arguments`)
    parts.push({
      type: 'tool-call',
      toolCallId: id,
      toolName: name,
      input,
      ...signedOptions(signatureIn(call)),
      ...partOptions(call),
    })
  }
  const legacy = message['function_call']
  if (isObject(legacy)) {
    const name = neededText(legacy, 'name', `${place}.function_call.name`)
    const input = argumentsOf(legacy, `${place}.function_call.arguments`)
    parts.push({ type: 'tool-call', toolCallId: calls.noteLegacy(name), toolName: name, input })
  }
  return parts
}

/** Gemini's signature of a call, where LiteLLM or Google's own compatible API puts it. */
function signatureIn(call: Fields): unknown {
  const { provider_specific_fields: fields, extra_content: extra } = call
  const [own, google] = [isObject(fields) ? fields : {}, isObject(extra) ? extra['google'] : null]
  return own['thought_signature'] ?? (isObject(google) ? google['thought_signature'] : null)
}

function argumentsOf(called: Fields, place: string): Fields {
  const written = called['arguments']
  if (isObject(written)) return written
  if (written === undefined || written === null || written === '') return {}
  const parsed = typeof written === 'string' ? parseJson(written) : undefined
  if (isObject(parsed)) return parsed
  throw new RequestFault(`${place} is not the JSON of an object.`, place)
}

async function toolResult(
  message: Fields,
  place: string,
  calls: CallNames,
  load: MediaLoader,
): Promise<ToolResult> {
  const isLegacy = message['role'] === 'function'
  const id = isLegacy ? calls.lastLegacy() : neededText(message, 'tool_call_id', `${place}.tool_call_id`)
  const name = calls.nameOf(id)
  if (name === undefined) throw new RequestFault(`${place} answers no call that stands before it.`, place)
  const output = await toolOutput(message, place, load)
  return { type: 'tool-result', toolCallId: id, toolName: name, output, ...partOptions(message) }
}

/** Results that follow each other are one turn: Gemini wants as many in it as there were calls. */
function pushResult(turns: LanguageModelV4Prompt, result: ToolResult): void {
  const last = turns.at(-1)
  if (last?.role === 'tool') last.content.push(result)
  else turns.push({ role: 'tool', content: [result] })
}
