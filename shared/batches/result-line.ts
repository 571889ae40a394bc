import { isUtf8 } from 'node:buffer'
import type { JobError } from '../schemas/job.ts'

/** Who a result line speaks of: the line's own id and its client's. */
export type LineName = { id: string; customId: string }

/** A provider's answer. */
export type LineReply = { status: number; requestId: string | null; body: Buffer }

/** What a line that ended without an answer has instead, as OpenAI's error files do. */
export type UnansweredError = { code: string; message: string }

const HTTP_ERROR_MIN = 400
const [LF, CR] = [0x0a, 0x0d]
const LINE_END = Buffer.from('},"error":null}\n')

/** What an error without an upstream status would have been told with. */
const STATUS_BY_TYPE: Record<string, number> = {
  invalid_request_error: 400,
  authentication_error: 401,
  insufficient_quota: 429,
  permission_error: 403,
  rate_limit_error: 429,
  timeout_error: 504,
}

/** The output line of an answer, whose body is in it byte for byte, but for line breaks between its tokens. */
export function answeredLine(name: LineName, { status, requestId, body }: LineReply): Buffer {
  return Buffer.concat([Buffer.from(headOf(name, status, requestId)), toOneLine(body), LINE_END])
}

/** The error line of a line that was called and failed, or that could not be called as it is. */
export function failedLine(
  name: LineName,
  failure: { status: number | null; requestId: string | null; error: JobError },
): Buffer {
  const { error, requestId } = failure
  const told = failure.status !== null && failure.status >= HTTP_ERROR_MIN ? failure.status : null
  const status = told ?? STATUS_BY_TYPE[error.type] ?? 502
  return Buffer.concat([Buffer.from(headOf(name, status, requestId) + JSON.stringify({ error })), LINE_END])
}

/** The error line of a line that never ran, or whose end nobody waited for: `batch_expired`, `batch_cancelled`. */
export function unansweredLine({ id, customId }: LineName, { code, message }: UnansweredError): Buffer {
  const line = { id, custom_id: customId, response: null, error: { code, message } }
  return Buffer.from(`${JSON.stringify(line)}\n`)
}

/** The errors of lines that a batch ended without. */
export const UNANSWERED = {
  expired: {
    code: 'batch_expired',
    message: 'This request could not be executed before the completion window expired.',
  },
  cancelled: { code: 'batch_cancelled', message: 'This request was not executed: its batch was stopped.' },
} as const satisfies Record<string, UnansweredError>

// Enough for the head of a line: 256 characters are at most 1,536 bytes of JSON.
const HEAD_BYTES_MAX = 2_048

/** The client's id of a result line, without reading its body. */
export function customIdOf(text: Buffer): string {
  const head = text.toString('utf8', 0, HEAD_BYTES_MAX)
  const quoted = /^\{"id":"[^"]*","custom_id":("(?:[^"\\]|\\.)*")/.exec(head)?.[1]
  if (quoted === undefined) throw new Error('A result line does not begin with its ids.')
  return JSON.parse(quoted) as string // just matched
}

/** Why a line of the error file failed. */
export function errorOfLine(text: Buffer): JobError | UnansweredError {
  // Written above.
  const line = JSON.parse(text.toString()) as {
    response: { body: { error: JobError } } | null
    error: UnansweredError
  }
  return line.response?.body.error ?? line.error
}

function headOf({ id, customId }: LineName, status: number, requestId: string | null): string {
  const [custom, request] = [JSON.stringify(customId), JSON.stringify(requestId)]
  return `{"id":"${id}","custom_id":${custom},"response":{"status_code":${status},"request_id":${request},"body":`
}

// In JSON a line break stands between tokens only, of which no two are told apart by white space alone: taken out, nothing
// changes, also no number. A provider's stray bytes must not make the whole file unreadable.
function toOneLine(json: Buffer): Buffer {
  const text = isUtf8(json) ? json : Buffer.from(json.toString())
  if (!text.includes(LF) && !text.includes(CR)) return text
  const line = Buffer.allocUnsafe(text.length)
  let length = 0
  // By index: an iterator takes several times as long.
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] ?? 0
    if (byte !== LF && byte !== CR) line[length++] = byte
  }
  return line.subarray(0, length)
}
