import { isObject } from '../providers/error-body.ts'
import { chatCall, plainCallId } from './call-ids.ts'
import { createChatMessages, contentOf, given, joinTexts, type Part } from './chat-messages.ts'
import { isText, listOf } from './json-values.ts'
import { openThoughts } from './sealed-thoughts.ts'
import type { ChatDialect } from './translation.ts'
import type { Warnings } from './warnings.ts'

type JsonObject = Record<string, unknown>

/** What a model said between two turns of others: one message of a chat, of several items. */
type Turn = {
  thoughts: string[]
  /** Those that must go back to their maker as they came. */
  sealed: JsonObject[]
  content: string | null
  refusal: string | null
  calls: JsonObject[]
}

/**
 * `instructions` and `input` as the messages of a chat. A model's reasoning, message and calls in a row become one message;
 * `developer` is said as `system`, which every server knows.
 */
export function readInput(
  { instructions, input }: JsonObject,
  dialect: ChatDialect,
  warnings: Warnings,
): JsonObject[] {
  const messages = createChatMessages(warnings, dialect)
  let turn = emptyTurn()

  function endTurn(): void {
    const said = tellTurn(turn, dialect)
    if (said) messages.push(said)
    else if (turn.thoughts.length > 0) warnings.leftOut('reasoning', WHY['reasoning'])
    turn = emptyTurn()
  }

  function addOwn(item: JsonObject, kind: string): void {
    // A model thinks before it speaks: reasoning after either begins another turn.
    const hasSpoken = turn.content !== null || turn.refusal !== null || turn.calls.length > 0
    if (kind === 'reasoning' && hasSpoken) endTurn()
    if (kind === 'message' && turn.content !== null && turn.calls.length === 0) endTurn()
    if (kind === 'reasoning') addThoughts(turn, item, dialect, warnings)
    else if (kind === 'function_call') turn.calls.push(readCall(item))
    else addWords(turn, item, warnings)
  }

  function add(item: JsonObject): void {
    const kind = typeof item['type'] === 'string' ? item['type'] : 'message'
    if (kind === 'reasoning' || kind === 'function_call') return addOwn(item, kind)
    if (kind === 'message' && item['role'] === 'assistant') return addOwn(item, kind)
    if (kind === 'function_call_output') {
      endTurn()
      messages.pushToolResult(plainCallId(item['call_id']), readParts(item['output'], warnings))
    } else if (kind === 'message') {
      endTurn()
      addMessage(messages, item, warnings)
    } else warnings.leftOut(`input item ${kind}`, WHY[kind])
  }

  if (isText(instructions)) messages.push({ role: 'system', content: instructions })
  if (typeof input === 'string') messages.push({ role: 'user', content: input })
  for (const item of listOf(input)) add(item)
  endTurn()
  return messages.list()
}

const WHY: Record<string, string> = {
  item_reference: 'the item that it names is kept elsewhere',
  reasoning: 'no message or call of the model follows it',
}

function emptyTurn(): Turn {
  return { thoughts: [], sealed: [], content: null, refusal: null, calls: [] }
}

/** A turn as one message; null when nothing was said to others in it. */
function tellTurn(
  { thoughts, sealed, content, refusal, calls }: Turn,
  dialect: ChatDialect,
): JsonObject | null {
  if (content === null && refusal === null && calls.length === 0) return null
  return {
    role: 'assistant',
    content,
    ...given({ refusal }),
    ...(dialect === 'rich' && sealed.length > 0 ? { thinking_blocks: sealed } : {}),
    ...(thoughts.length > 0 ? { reasoning_content: thoughts.join('\n\n') } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  }
}

function addThoughts(turn: Turn, item: JsonObject, dialect: ChatDialect, warnings: Warnings): void {
  const summary = listOf(item['summary']).map(({ text }) => text)
  const content = listOf(item['content']).map(({ text }) => text)
  // The whole reasoning where it is given, else its summary.
  const said = (content.length > 0 ? content : summary).filter(isText)
  turn.thoughts = [...turn.thoughts, ...said]
  const encrypted = item['encrypted_content']
  if (!isText(encrypted)) return
  const block = openThoughts(encrypted, said.join(''))
  if (block) turn.sealed.push(block)
  const isLost = block === null || (dialect === 'plain' && said.length === 0)
  if (isLost) warnings.leftOut('reasoning.encrypted_content', 'only its maker can read it')
}

function readCall({ call_id: id, name, arguments: text }: JsonObject): JsonObject {
  return chatCall(id, { name, arguments: text })
}

function addWords(turn: Turn, { content }: JsonObject, warnings: Warnings): void {
  const refusals = listOf(content).filter(isRefusal)
  const others = Array.isArray(content) ? content.filter((part) => !isRefusal(part)) : content
  const text = joinTexts(readParts(others, warnings), '')
  if (refusals.length > 0) turn.refusal = refusals.map(({ refusal }) => String(refusal)).join('')
  if (text !== '' || refusals.length === 0) turn.content = (turn.content ?? '') + text
}

function isRefusal(part: unknown): boolean {
  return isObject(part) && part['type'] === 'refusal'
}

function addMessage(
  messages: ReturnType<typeof createChatMessages>,
  { role, content }: JsonObject,
  warnings: Warnings,
): void {
  const parts = readParts(content, warnings)
  if (role === 'user') messages.pushUser(parts)
  else if (role === 'system' || role === 'developer') {
    messages.push({ role: 'system', content: joinTexts(parts, '\n\n') })
  } else messages.push({ role, content: contentOf(parts) })
}

function readParts(content: unknown, warnings: Warnings): Part[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  return listOf(content).flatMap((part) => readPart(part, warnings))
}

function readPart(part: JsonObject, warnings: Warnings): Part[] {
  const { type, text, image_url: url, detail, file_data, file_id, filename } = part
  switch (type) {
    case 'input_text':
    case 'output_text':
    case 'text':
      return [{ type: 'text', text }]
    case 'input_image':
      if (isText(url)) return [{ type: 'image_url', image_url: given({ url, detail }) }]
      break
    case 'input_file':
      if (isText(file_data) || isText(file_id)) {
        return [{ type: 'file', file: given({ file_data, file_id, filename }) }]
      }
      break
    case 'input_audio':
      if (isObject(part['input_audio'])) return [{ type: 'input_audio', input_audio: part['input_audio'] }]
      break
    default:
  }
  warnings.leftOut(namePart(part))
  return []
}

function namePart({ type, file_id: fileId, file_url: fileUrl }: JsonObject): string {
  const by = isText(fileId) ? '.file_id' : isText(fileUrl) ? '.file_url' : ''
  return `${String(type)}${by}`
}
