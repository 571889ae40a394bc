import { isRawNumber } from '../../shared/lossless-json.ts'
import { parseDuration } from '../header-time.ts'

/** What a provider says of its error, as far as it says so in a known shape. */
export type ErrorBody = {
  message: string
  type: string | null
  param: string | null
  /** A name, as `context_length_exceeded`; numbers are in `status`. */
  code: string | null
  /** A name that is more exact than the code: Azure's `innererror`, Google's `ErrorInfo`, a moderation of OpenRouter. */
  reason: string | null
  /** An HTTP status that stands in the body: OpenRouter sends such with a 200. */
  status: number | null
  /** Google's `RetryInfo`: it has no header for it. */
  retryAfterMs: number | null
}

/**
 * Reads the shapes that providers have for an error; anything else, HTML above all, is null: it must not reach a client.
 *
 * - `{error: {message, type, code}}`: OpenAI, Azure, Groq and most; Anthropic with a `type: "error"` around it; Google,
 *   at times as a list.
 * - `{error: "text"}`: xAI, Text Generation Inference, Hugging Face.
 * - `{message}`, flat: vLLM, Mistral, Cohere; with the name in `__type`: Amazon.
 * - `{detail}`: FastAPI, as a text or a list of what is wrong where.
 */
export function readErrorBody(body: unknown): ErrorBody | null {
  const parsed: unknown = Array.isArray(body) ? body[0] : body
  if (!isObject(parsed)) return null
  const { error } = parsed
  if (typeof error === 'string' && error !== '') {
    return readFields({ ...parsed, type: parsed['type'] ?? parsed['error_type'], message: error })
  }
  return isObject(error) ? readFields(error) : readFields(parsed)
}

/** The value of a JSON text, or undefined when it is none. */
export function parseJson(body: Buffer | string): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}

/** Whether a parsed value is a JSON object. A number that is kept as text is none, though JavaScript says so. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawNumber(value)
}

/** Elements of pages that servers answer with. Not every `<name>`: models have tokens of that form. */
const PAGE =
  /<(?:!--|\?xml|(?:!doctype|html|head|body|title|center|script|style|meta|link|iframe|svg|img|form|input|table|t[dhr]|pre|span|font|strong|address|[uo]l|li|a|b|i|br|hr|h[1-6]|div|p)(?=[\s/>]|$))/i

/** Whether a text holds a piece of HTML or XML. */
export function isPage(words: string): boolean {
  return PAGE.test(words)
}

/** Amazon's name of an error, from `ThrottlingException:http://…` or `com.amazon.coral#ThrottlingException`. */
export function readAmazonName(value: unknown): string | null {
  return typeof value === 'string' ? (/^(?:[\w.]*#)?(\w{1,64})(?::|$)/.exec(value)?.[1] ?? null) : null
}

function readFields(fields: Record<string, unknown>): ErrorBody | null {
  const said = readMessage(fields)
  if (said === null) return null
  const code = text(fields['code'])
  const number = typeof fields['code'] === 'number' ? fields['code'] : Number(code ?? Number.NaN)
  const isNamed = code !== null && Number.isNaN(number)
  const inner = readUpstream(fields['metadata'])
  return {
    message: inner ? `${said.message}: ${inner.message}` : said.message,
    type: text(fields['type']),
    param: text(fields['param']) ?? said.param,
    code:
      (isNamed ? code : text(fields['status'])) ?? readAmazonName(fields['__type']) ?? inner?.code ?? null,
    reason: readReason(fields) ?? inner?.reason ?? inner?.type ?? null,
    status: number >= 400 && number < 600 ? number : null,
    retryAfterMs: readRetryInfo(fields['details']) ?? inner?.retryAfterMs ?? null,
  }
}

type Said = { message: string; param: string | null }

function readMessage(fields: Record<string, unknown>): Said | null {
  const message = fields['message'] ?? fields['Message']
  if (typeof message === 'string') return { message, param: null }
  // Mistral puts FastAPI's list below the message.
  return readDetail(isObject(message) ? message['detail'] : fields['detail'])
}

/** FastAPI: each entry says what (`msg`) and where (`loc`); its `input` is the client's own text and is left out. */
function readDetail(detail: unknown): Said | null {
  if (typeof detail === 'string' && detail !== '') return { message: detail, param: null }
  if (!Array.isArray(detail)) return null
  const entries = detail.filter(isObject).slice(0, 10)
  const messages = entries.map((entry) => text(entry['msg'])).filter((message) => message !== null)
  const place = entries[0]?.['loc']
  const path = Array.isArray(place) ? place.filter((part) => part !== 'body').join('.') : ''
  return messages.length > 0 ? { message: messages.join('; '), param: path || null } : null
}

function readReason(fields: Record<string, unknown>): string | null {
  const { innererror, details, metadata } = fields
  if (isObject(innererror)) return text(innererror['code'])
  // OpenRouter says so of the input it has flagged.
  if (isObject(metadata) && Array.isArray(metadata['reasons'])) return 'content_policy_violation'
  const info = list(details).find((entry) => typeof entry['reason'] === 'string')
  return text(info?.['reason'])
}

function readRetryInfo(details: unknown): number | null {
  const info = list(details).find((entry) => String(entry['@type']).endsWith('google.rpc.RetryInfo'))
  return parseDuration(text(info?.['retryDelay']))
}

/** The upstream's own error, which OpenRouter passes on as JSON or words. One level deep: it is never nested further. */
function readUpstream(metadata: unknown): ErrorBody | null {
  const raw = isObject(metadata) ? text(metadata['raw']) : null
  if (raw === null || raw.length > 20_000 || isPage(raw)) return null
  const upstream = parseJson(raw)
  if (upstream === undefined) return readFields({ message: raw })
  const error = isObject(upstream) ? (upstream['error'] ?? upstream) : null
  if (!isObject(error)) return null
  const { metadata: _nested, ...fields } = error
  return readFields(fields)
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}
