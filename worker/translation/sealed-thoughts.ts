type JsonObject = Record<string, unknown>

const SIGNED = 'signed-thinking:'
const HIDDEN = 'hidden-thinking:'

/**
 * What Claude's thinking must carry when it goes back, as `encrypted_content` of a reasoning item: clients send that back as
 * they got it. `signature` belongs to thinking that can be read, `data` is thinking that can't.
 */
export function sealThoughts({ signature = '', data = '' }): string | null {
  if (data !== '') return HIDDEN + data
  return signature === '' ? null : SIGNED + signature
}

/** The block of thinking that a reasoning item was made of; null: another maker's, which only that can read. */
export function openThoughts(encrypted: string, thinking: string): JsonObject | null {
  if (encrypted.startsWith(HIDDEN)) return { type: 'redacted_thinking', data: encrypted.slice(HIDDEN.length) }
  if (!encrypted.startsWith(SIGNED)) return null
  return { type: 'thinking', thinking, signature: encrypted.slice(SIGNED.length) }
}
