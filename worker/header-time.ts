/** Headers of an answer, names in lower case. */
export type AnswerHeaders = Record<string, string | string[] | undefined>

/** The first value of a header, without the blanks around it; null when it is not there. */
export function readHeader(headers: AnswerHeaders, name: string): string | null {
  const value = headers[name]
  return (Array.isArray(value) ? value[0] : value)?.trim() ?? null
}

/** `6m0s`, `20ms`, plain seconds, or a moment: Unix seconds, Unix milliseconds, ISO. In milliseconds from `nowMs`. */
export function parseMoment(text: string | null, nowMs: number): number | null {
  const seconds = parseNumber(text, 1)
  if (seconds === null) return parseDuration(text) ?? parseDate(text, nowMs)
  if (seconds > 1e11) return seconds - nowMs
  if (seconds > 1e9) return seconds * 1_000 - nowMs
  return seconds * 1_000
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A length of time in units, as `1h2m3s`, `20ms` or a protobuf's `37.5s`, in milliseconds. */
export function parseDuration(text: string | null): number | null {
  if (text === null || text.length > 64 || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return null
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
  return parts.reduce((sumMs, [, amount, unit]) => sumMs + Number(amount) * (UNITS_MS[unit ?? ''] ?? 0), 0)
}

/** An HTTP or ISO date in milliseconds from `nowMs`; 0 when it is over. */
export function parseDate(text: string | null, nowMs: number): number | null {
  // A bare number would be read as a year.
  const moment = text !== null && /[A-Za-z]/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(moment) ? null : Math.max(0, moment - nowMs)
}

/** A plain number of units, which last `unitMs` each. */
export function parseNumber(text: string | null, unitMs: number): number | null {
  return text !== null && /^\d+(\.\d+)?$/.test(text) ? Number(text) * unitMs : null
}
