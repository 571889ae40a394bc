import { chatCall, plainCallId } from './call-ids.ts'
import { createChatMessages, given, joinTexts, type Part } from './chat-messages.ts'
import { isText, listOf } from './json-values.ts'
import { readMark, readParts, type Context } from './messages-content.ts'

type JsonObject = Record<string, unknown>
type ChatMessages = ReturnType<typeof createChatMessages>

/** `system` and `messages` as those of a chat: results of tools are messages of their own there, before what the user says. */
export function readTurns(system: unknown, turns: unknown, context: Context): JsonObject[] {
  const messages = createChatMessages(context.warnings, context.dialect)
  pushSystem(messages, system, context)
  for (const { role, content } of listOf(turns)) {
    if (role === 'system') pushSystem(messages, content, context)
    else if (role === 'assistant') pushAssistant(messages, content, context)
    else pushUser(messages, content, context)
  }
  return messages.list()
}

function pushSystem(messages: ChatMessages, content: unknown, context: Context): void {
  const parts = readParts(content, context)
  if (parts.length > 0) messages.push({ role: 'system', content: plainContent(parts, '\n\n') })
}

function pushUser(messages: ChatMessages, content: unknown, context: Context): void {
  const blocks = typeof content === 'string' ? content : listOf(content)
  if (typeof blocks === 'string') return messages.pushUser(readParts(blocks, context))
  for (const block of blocks.filter(isResult)) {
    const parts = readParts(block['content'], context)
    const shown = block['is_error'] === true ? asError(parts) : parts
    messages.pushToolResult(plainCallId(block['tool_use_id']), shown, readMark(block, context))
  }
  messages.pushUser(
    readParts(
      blocks.filter((block) => !isResult(block)),
      context,
    ),
  )
}

function isResult({ type }: JsonObject): boolean {
  return type === 'tool_result'
}

/** A chat has no flag for a failed tool: the text says it. */
function asError(parts: readonly Part[]): Part[] {
  const [first, ...rest] = parts
  const text = first?.type === 'text' ? String(first['text']) : ''
  if (/^error\b/i.test(text)) return [...parts]
  if (first?.type !== 'text') return [{ type: 'text', text: 'Error' }, ...parts]
  return [{ ...first, text: `Error: ${text}` }, ...rest]
}

function pushAssistant(messages: ChatMessages, content: unknown, context: Context): void {
  const blocks = typeof content === 'string' ? [{ type: 'text', text: content }] : listOf(content)
  const calls = blocks.filter(({ type }) => type === 'tool_use').map((block) => readCall(block, context))
  const others = blocks.filter(({ type }) => !OWN.has(String(type)))
  const parts = readParts(others, context)
  const thoughts = readThoughts(blocks, context)
  if (parts.length === 0 && calls.length === 0) return
  messages.push({
    role: 'assistant',
    content: parts.length > 0 ? plainContent(parts, '') : null,
    ...thoughts,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  })
}

const OWN = new Set(['tool_use', 'thinking', 'redacted_thinking'])

/** Text where many servers take no list of parts; a list where a mark would be lost with it. */
function plainContent(parts: readonly Part[], between: string): unknown {
  return parts.some((part) => 'cache_control' in part) ? parts : joinTexts(parts, between)
}

function readCall(block: JsonObject, context: Context): JsonObject {
  const { id, name, input } = block
  const called = { name, arguments: JSON.stringify(input ?? {}) }
  return { ...chatCall(id, called), ...readMark(block, context) }
}

/** What Claude has signed goes back to it as it came; others read the text only. */
function readThoughts(blocks: readonly JsonObject[], { dialect, warnings }: Context): JsonObject {
  const thoughts = blocks.filter(({ type }) => type === 'thinking')
  const redacted = blocks.filter(({ type }) => type === 'redacted_thinking')
  const text = thoughts.map(({ thinking }) => thinking).filter(isText)
  const signed = blocks.filter(({ signature, data, type }) =>
    type === 'thinking' ? isText(signature) : type === 'redacted_thinking' && isText(data),
  )
  if (redacted.length > 0 && dialect === 'plain') {
    warnings.leftOut('redacted_thinking', 'only its maker can read it')
  }
  return given({
    reasoning_content: text.length > 0 ? text.join('\n\n') : undefined,
    thinking_blocks: dialect === 'rich' && signed.length > 0 ? signed : undefined,
  })
}
