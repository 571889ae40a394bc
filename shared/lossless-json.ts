/**
 * JSON that keeps numbers as they were written where a double can't hold them: such a number is an object made by
 * `JSON.rawJSON`, which goes out again as the same text.
 *
 * @see https://tc39.es/proposal-json-parse-with-source/
 */

/** Node 24 has both; TypeScript's library does not tell of them yet. */
type RawJson = {
  rawJSON: (text: string) => unknown
  isRawJSON: (value: unknown) => boolean
  parse: (
    text: string,
    revive: (key: string, value: unknown, context: { source?: string }) => unknown,
  ) => unknown
}
const raw = JSON as unknown as RawJson // see above

// Where a number may stand, sixteen digits, or an exponent: the only way to one that changes when it is read. Most ids have
// something of the kind too, but within quotation marks.
const MAY_LOSE = /(?:^|[:[,\s])-?(?:[.\d]{16}|\d[.\d]*[eE])/

/**
 * The value of a JSON text.
 * @throws {SyntaxError}
 */
export function parseJsonLossless(text: string): unknown {
  if (!MAY_LOSE.test(text)) return JSON.parse(text)
  return raw.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && isLost(value, source) ? raw.rawJSON(source) : value,
  )
}

/** Whether a value is a number that is kept as text. */
export function isRawNumber(value: unknown): boolean {
  return raw.isRawJSON(value)
}

// Whole numbers above 2^53, what has no double at all, and more digits than a double has.
function isLost(value: number, source: string): boolean {
  if (!Number.isFinite(value)) return true
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return true
  return digitsOf(source).length > 15 && digitsOf(source) !== digitsOf(String(value))
}

function digitsOf(number: string): string {
  const [mantissa = ''] = number.toLowerCase().split('e')
  return mantissa.replaceAll(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
}
