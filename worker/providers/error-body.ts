/** What a provider says of its error, as far as it says so in a known shape. */
export type ErrorBody = {
  message: string
  type: string | null
  param: string | null
  /** A name, as `context_length_exceeded`; numbers are in `status`. */
  code: string | null
  /** An HTTP status that stands in the body: OpenRouter sends such with a 200. */
  status: number | null
}

/**
 * Reads OpenAI's `{error: {message, ...}}`, the flat `{object: "error", message, ...}` of vLLM and Mistral, and
 * `{error: "text"}` of xAI and others; Gemini puts its error into a list. Anything else, HTML above all, is null: it must not reach a client.
 */
export function readErrorBody(body: unknown): ErrorBody | null {
  const parsed: unknown = Array.isArray(body) ? body[0] : body
  if (!isObject(parsed)) return null
  const { error } = parsed
  if (typeof error === 'string' && error !== '') return readFields({ ...parsed, message: error })
  if (isObject(error)) return readFields(error)
  return parsed['object'] === 'error' ? readFields(parsed) : null
}

/** The value of a JSON text, or undefined when it is none. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}

/** Whether a parsed value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readFields(fields: Record<string, unknown>): ErrorBody | null {
  if (typeof fields['message'] !== 'string') return null
  const code = text(fields['code'])
  const number = typeof fields['code'] === 'number' ? fields['code'] : Number(code ?? Number.NaN)
  const isNamed = code !== null && Number.isNaN(number)
  return {
    message: fields['message'],
    type: text(fields['type']),
    param: text(fields['param']),
    code: isNamed ? code : text(fields['status']),
    status: number >= 400 && number < 600 ? number : null,
  }
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}
