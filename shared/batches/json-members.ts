/**
 * Members of a JSON object by where they lie in its text, so that a value can be cut out and all else stays byte for byte
 * as it came. Every member is told, also one whose name stands twice: `JSON.parse` keeps only the last of them. The text
 * must be valid JSON in UTF-8; this is no check.
 */

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const SPACE = 0x20

/** Where a value lies: bytes [from, to). */
export type JsonMember = { name: string; from: number; to: number }

/** The members of the object whose brace stands at `start`, in their order. */
export function* jsonMembers(text: Buffer, start: number): Generator<JsonMember> {
  let at = skipBlanks(text, start + 1)
  while (at < text.length && text[at] !== CLOSE_BRACE) {
    const nameEnd = endOfString(text, at)
    const name = nameOf(text, at, nameEnd)
    // Over the colon.
    const from = skipBlanks(text, skipBlanks(text, nameEnd) + 1)
    const to = endOfValue(text, from)
    yield { name, from, to }
    at = skipBlanks(text, to)
    if (text[at] === COMMA) at = skipBlanks(text, at + 1)
  }
}

/** Where the first byte stands that is no blank of JSON, from `start` on. */
export function skipBlanks(text: Buffer, start: number): number {
  let at = start
  // Nothing but blanks is below an exclamation mark where a token may begin.
  while (at < text.length && (text[at] ?? 0) <= SPACE) at += 1
  return at
}

// A name may be written with escapes: "api\u005fkey" is one, too.
function nameOf(text: Buffer, from: number, to: number): string {
  for (let at = from + 1; at < to - 1; at += 1) {
    const byte = text[at] ?? 0
    if (byte === BACKSLASH || byte > 0x7f) return String(JSON.parse(text.toString('utf8', from, to)))
  }
  return text.toString('latin1', from + 1, to - 1)
}

function endOfValue(text: Buffer, from: number): number {
  const first = text[from]
  if (first === QUOTE) return endOfString(text, from)
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return endOfNested(text, from)
  let at = from
  while (at < text.length && isOfScalar(text[at] ?? 0)) at += 1
  return at
}

function isOfScalar(byte: number): boolean {
  return byte > SPACE && byte !== COMMA && byte !== CLOSE_BRACE && byte !== CLOSE_BRACKET
}

function endOfNested(text: Buffer, from: number): number {
  let depth = 0
  let at = from
  while (at < text.length) {
    const byte = text[at]
    if (byte === QUOTE) {
      at = endOfString(text, at)
      continue
    }
    at += 1
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth -= 1
      if (depth === 0) return at
    }
  }
  return at
}

function endOfString(text: Buffer, from: number): number {
  for (let at = from + 1; at < text.length; at += 1) {
    const byte = text[at]
    if (byte === QUOTE) return at + 1
    if (byte === BACKSLASH) at += 1
  }
  return text.length
}
