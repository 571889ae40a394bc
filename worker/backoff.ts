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

type Headers = Record<string, string | string[] | undefined>

/**
 * What an answer's headers ask a caller to wait, in milliseconds from `nowMs`; null when they do not say. Reads
 * `retry-after-ms`, `retry-after` (seconds or HTTP-date) and, for a 429, when the exhausted limit is reset.
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 * @see https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
 */
export function parseRetryAfterMs(headers: Headers, nowMs: number, isRateLimited = false): number | null {
  const asked =
    toMs(first(headers['retry-after-ms']), 1) ??
    toMs(first(headers['x-ms-retry-after-ms']), 1) ??
    toMs(first(headers['retry-after']), 1_000) ??
    parseDate(first(headers['retry-after']), nowMs) ??
    (isRateLimited ? parseReset(headers, nowMs) : null)
  return asked === null ? null : Math.min(Math.max(0, asked), RETRY_AFTER_MAX_MS)
}

/** The resets of what is used up; when no header says what is, the earliest of all. */
function parseReset(headers: Headers, nowMs: number): number | null {
  const resets = ['-requests', '-tokens', ''].flatMap((kind) => {
    const resetMs = parseMoment(first(headers[`x-ratelimit-reset${kind}`]), nowMs)
    const remaining = first(headers[`x-ratelimit-remaining${kind}`])
    return resetMs === null ? [] : [{ resetMs, isUsedUp: remaining !== null && Number(remaining) <= 0 }]
  })
  if (resets.length === 0) return null
  const usedUp = resets.filter(({ isUsedUp }) => isUsedUp).map(({ resetMs }) => resetMs)
  return usedUp.length > 0 ? Math.max(...usedUp) : Math.min(...resets.map(({ resetMs }) => resetMs))
}

/** `6m0s`, `20ms`, plain seconds, or a moment: Unix seconds, Unix milliseconds, ISO. */
function parseMoment(text: string | null, nowMs: number): number | null {
  const seconds = toMs(text, 1)
  if (seconds === null) return parseDuration(text) ?? parseDate(text, nowMs)
  if (seconds > 1e11) return seconds - nowMs
  if (seconds > 1e9) return seconds * 1_000 - nowMs
  return seconds * 1_000
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function parseDuration(text: string | null): number | null {
  if (text === null || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return null
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
  return parts.reduce((sumMs, [, amount, unit]) => sumMs + Number(amount) * (UNITS_MS[unit ?? ''] ?? 0), 0)
}

function parseDate(text: string | null, nowMs: number): number | null {
  // A bare number would be read as a year.
  const moment = text !== null && /[A-Za-z]/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(moment) ? null : Math.max(0, moment - nowMs)
}

function toMs(text: string | null, unitMs: number): number | null {
  return text !== null && /^\d+(\.\d+)?$/.test(text) ? Number(text) * unitMs : null
}

function first(value: string | string[] | undefined): string | null {
  return (Array.isArray(value) ? value[0] : value)?.trim() ?? null
}
