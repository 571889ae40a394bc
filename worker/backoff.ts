import { parseDate, parseMoment, parseNumber, readHeader, type AnswerHeaders } from './header-time.ts'

// LiteLLM's constants are 0.5 s, at most 8 s, and up to 0.75 s of jitter: all follow from the first.
const MAX_FACTOR = 16
const JITTER_FACTOR = 1.5
/** Above it a header is a mistake; job deadlines end far earlier. */
const RETRY_AFTER_MAX_MS = 7 * 86_400_000

/**
 * How long to wait before trying again, in milliseconds: LiteLLM's formula, except that a `Retry-After` is honoured
 * in full however long it is, since a waiting job costs nothing.
 * @param options.retry 0 before the first retry of a group.
 * @param options.retryAfterMs What the provider asked for; null or 0: nothing.
 * @param options.retryAfterSecondsMin `retry_after` of the config; above 8 it counts as 8.
 * @param options.initialMs Back-off before the first retry; 500 as in LiteLLM, less in tests.
 * @param options.random Uniform in [0, 1).
 */
export function retryDelayMs(options: {
  retry: number
  retryAfterMs: number | null
  retryAfterSecondsMin: number
  initialMs: number
  random: () => number
}): number {
  const { retry, retryAfterMs, retryAfterSecondsMin, initialMs, random } = options
  const jitterMs = initialMs * JITTER_FACTOR * random()
  if (retryAfterMs !== null && retryAfterMs > 0) return retryAfterMs + jitterMs
  const backoffMs = Math.max(initialMs * 2 ** Math.max(0, retry), retryAfterSecondsMin * 1_000)
  return Math.min(backoffMs, initialMs * MAX_FACTOR) + jitterMs
}

/**
 * What an answer's headers ask a caller to wait, in milliseconds from `nowMs`; null when they do not say. Reads
 * `retry-after-ms`, `retry-after` (seconds or HTTP-date) and, for a 429, when the exhausted limit is reset.
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 * @see https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
 */
export function parseRetryAfterMs(
  headers: AnswerHeaders,
  nowMs: number,
  isRateLimited = false,
): number | null {
  const asked =
    parseNumber(readHeader(headers, 'retry-after-ms'), 1) ??
    parseNumber(readHeader(headers, 'x-ms-retry-after-ms'), 1) ??
    parseNumber(readHeader(headers, 'retry-after'), 1_000) ??
    parseDate(readHeader(headers, 'retry-after'), nowMs) ??
    (isRateLimited ? parseReset(headers, nowMs) : null)
  return asked === null ? null : Math.min(Math.max(0, asked), RETRY_AFTER_MAX_MS)
}

/** The resets of what is used up; when no header says what is, the earliest of all. */
function parseReset(headers: AnswerHeaders, nowMs: number): number | null {
  const resets = ['-requests', '-tokens', ''].flatMap((kind) => {
    const resetMs = parseMoment(readHeader(headers, `x-ratelimit-reset${kind}`), nowMs)
    const remaining = readHeader(headers, `x-ratelimit-remaining${kind}`)
    return resetMs === null ? [] : [{ resetMs, isUsedUp: remaining !== null && Number(remaining) <= 0 }]
  })
  if (resets.length === 0) return null
  const usedUp = resets.filter(({ isUsedUp }) => isUsedUp).map(({ resetMs }) => resetMs)
  return usedUp.length > 0 ? Math.max(...usedUp) : Math.min(...resets.map(({ resetMs }) => resetMs))
}
