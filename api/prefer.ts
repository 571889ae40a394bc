/** What a client prefers of how it is answered. */
export type Preference = {
  respondAsync: boolean
  /** How long the client wants to wait for this answer, in whole seconds; null when it did not say. */
  waitSeconds: number | null
}

const CHARACTERS_MAX = 1000
const PREFERENCE = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/

/**
 * Reads `Prefer` (RFC 7240): comma-joined or repeated, first mention of a name wins, what is unknown or malformed is
 * ignored. @see https://www.rfc-editor.org/rfc/rfc7240
 */
export function parsePrefer(header: string | string[] | undefined): Preference {
  const preference: Preference = { respondAsync: false, waitSeconds: null }
  const text = [header ?? []].flat().join(',')
  // Longer than any honest one: matching quotes in it would take quadratic time.
  if (text.length > CHARACTERS_MAX) return preference
  const seen = new Set<string>()
  for (const item of splitOutsideQuotes(text)) {
    const [, name = '', quoted, bare] = PREFERENCE.exec(item) ?? []
    const key = name.toLowerCase()
    if (seen.has(key)) continue
    seen.add(key)
    const value = quoted ?? bare ?? ''
    if (key === 'respond-async') preference.respondAsync = true
    if (key === 'wait' && /^\d{1,9}$/.test(value)) preference.waitSeconds = Number(value)
  }
  return preference
}

function splitOutsideQuotes(text: string): string[] {
  return text.match(/(?:"(?:[^"\\]|\\.)*"|[^,])+/g) ?? []
}
