import { createHash } from 'node:crypto'

/** The entity tag of what is shown, by all that it is shown from. */
export function etagOf(...parts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:${part}`)
  return `"${hash.digest('base64url').slice(0, 27)}"`
}

/**
 * Whether a client that sent this `If-None-Match` has what carries this tag. Weak comparison: a proxy that compressed an answer
 * made its tag a weak one. @see https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
 */
export function isKnownTag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  if (header.trim() === '*') return true
  return Array.from(header.matchAll(/"[^"]*"/g), ([tag]) => tag).includes(etag)
}
