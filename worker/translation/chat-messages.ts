import type { ChatDialect } from './translation.ts'
import type { Warnings } from './warnings.ts'

type JsonObject = Record<string, unknown>

/** A part of a chat message's content: `text`, `image_url`, `file` or `input_audio`. */
export type Part = JsonObject & { type: string }

/** A message's content: a plain text where it is one, which every server takes. */
export function contentOf(parts: readonly Part[]): unknown {
  const [first] = parts
  const isPlain = parts.length === 1 && first?.type === 'text' && !('cache_control' in first)
  return isPlain ? first['text'] : parts
}

/** Several texts as one, for the roles in which many servers take no list. */
export function joinTexts(parts: readonly Part[], between: string): string {
  return parts
    .filter(({ type }) => type === 'text')
    .map((part) => String(part['text']))
    .join(between)
}

/**
 * Writes a chat request's messages. In a plain one, what a tool gave besides text goes in a message of the user behind those
 * of all tools: a tool's message holds text only, and nothing may stand between messages of tools that were called together.
 */
export function createChatMessages(warnings: Warnings, dialect: ChatDialect) {
  const messages: JsonObject[] = []
  let fromTools: Part[] = []

  function flush(): void {
    if (fromTools.length > 0) messages.push({ role: 'user', content: fromTools })
    fromTools = []
  }

  return {
    push(message: JsonObject): void {
      flush()
      messages.push(message)
    },
    /** @param more Other fields of the message. */
    pushToolResult(callId: unknown, parts: readonly Part[], more: JsonObject = {}): void {
      const isWhole = dialect === 'rich' && parts.some(({ type }) => type !== 'text')
      const content = isWhole ? parts : joinTexts(parts, '\n')
      messages.push({ role: 'tool', tool_call_id: callId, content, ...more })
      if (isWhole) return
      const others = parts.filter(({ type }) => type !== 'text')
      if (others.length > 0) warnings.say(MOVED)
      fromTools = [...fromTools, ...others]
    },
    /** The parts of a user's message, behind what its tools gave. */
    pushUser(parts: readonly Part[]): void {
      const all = [...fromTools, ...parts]
      fromTools = []
      if (all.length > 0) messages.push({ role: 'user', content: contentOf(all) })
    },
    list(): JsonObject[] {
      flush()
      return messages
    },
  }
}

const MOVED = 'Images and files that a tool gave were put in a message of the user behind it.'

/** A function as a chat completion's tool; what is not given is left out. */
export function functionTool(fields: {
  name: unknown
  description: unknown
  parameters: unknown
  strict: unknown
}): JsonObject {
  return { type: 'function', function: given(fields) }
}

/** An object without what is null or undefined. */
export function given(fields: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  )
}
