import { InvalidRequestError } from './errors.ts'
import { findJsonError } from './json-position.ts'
import { parseJsonLossless } from './lossless-json.ts'

const DEPTH_MAX = 100
/** Many times as many as any request has: reading millions of the smallest values holds up all others for seconds. */
const VALUES_MAX = 2_000_000
// An underscore or one of the letters of "proto", escaped.
const ESCAPE_IN_PROTO = /\\u00(?:5f|70|72|6f|74)/i

/**
 * The value of a JSON text that a client sent: numbers lossless; `__proto__` keys, bottomless nesting and values without end
 * refused.
 * @param noun what the text is to its sender, at the start of a sentence.
 * @throws {InvalidRequestError} `invalid_json`, with the position.
 */
export function parseClientJson(text: string, noun: string): unknown {
  const { depth, values } = measure(text)
  if (values > VALUES_MAX) {
    const message = `${noun} holds more than ${VALUES_MAX} values.`
    throw new InvalidRequestError(message, null, 'invalid_json')
  }
  let value: unknown
  try {
    value = parseJsonLossless(text)
  } catch (cause) {
    throw malformed(text, noun, cause)
  }
  if (depth > DEPTH_MAX) {
    const message = `${noun} is nested more than ${DEPTH_MAX} levels deep.`
    throw new InvalidRequestError(message, null, 'invalid_json')
  }
  // The key is there only if its text is, in plain or with an escape in it.
  if (text.includes('__proto__') || ESCAPE_IN_PROTO.test(text)) checkKeys(value, noun)
  return value
}

// V8's message quotes the text, which may hold a key: only the position is told.
function malformed(text: string, noun: string, cause: unknown): InvalidRequestError {
  const position = findJsonError(text) ?? text.length
  const before = text.slice(0, position)
  const line = before.split('\n').length
  const column = position - before.lastIndexOf('\n')
  const where = position === text.length ? 'it ends too early, at' : 'the first error is at'
  const message = `${noun} is not valid JSON: ${where} position ${position} (line ${line}, column ${column}).`
  const error = new InvalidRequestError(message, null, 'invalid_json')
  error.cause = cause
  return error
}

// Over the text, which costs a tenth of reading it and walking over the values.
function measure(text: string): { depth: number; values: number } {
  let [depth, deepest, values] = [0, 0, 1]
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    if (code === 0x22) index = endOfString(text, index)
    else if (code === 0x2c) values += 1
    else if (code === 0x5b || code === 0x7b) {
      depth += 1
      deepest = Math.max(deepest, depth)
    } else if (code === 0x5d || code === 0x7d) depth -= 1
    if (values > VALUES_MAX) break
  }
  return { depth: deepest, values }
}

// Of valid JSON: the quote that ends the string is the first one that no odd number of backslashes stands before.
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end > 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1
    while (text.charCodeAt(before) === 0x5c) before -= 1
    if ((end - before) % 2 === 1) return end
  }
  return text.length
}

function checkKeys(value: unknown, noun: string): void {
  if (typeof value !== 'object' || value === null) return
  if (Object.hasOwn(value, '__proto__')) {
    throw new InvalidRequestError(`${noun} holds a key "__proto__", which is refused.`, null, 'invalid_json')
  }
  for (const item of Object.values(value)) checkKeys(item, noun)
}
