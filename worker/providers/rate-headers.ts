import { parseMoment, parseNumber, readHeader, type AnswerHeaders } from '../header-time.ts'
import type { Redact } from './redact.ts'

/** A provider that is out for longer says so again at the next call; a mistaken header must not rest it for days. */
const REST_MAX_MS = 3_600_000
/** A bucket that fills faster than this is as good as never empty. */
const REFILL_MIN_MS = 50
const VALUE_CHARACTERS_MAX = 200

/** The headers that tell of one kind of limit. */
type Kind = { remaining: string; reset: string; limit: string }

/**
 * What providers count. OpenAI, Azure and Groq have the first two, Mistral those by minute (which it never says the
 * reset of), Anthropic the rest. OpenAI's and Anthropic's resets tell when the limit is whole again.
 * @see https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
 * @see https://docs.anthropic.com/en/api/rate-limits#response-headers
 * @see https://console.groq.com/docs/rate-limits#rate-limit-headers
 * @see https://github.com/mistralai/client-ts/issues/169
 */
const KINDS: readonly Kind[] = [
  ...['requests', 'tokens', 'req-minute', 'tokens-minute'].map((kind) => ({
    remaining: `x-ratelimit-remaining-${kind}`,
    reset: `x-ratelimit-reset-${kind}`,
    limit: `x-ratelimit-limit-${kind}`,
  })),
  ...['requests', 'tokens', 'input-tokens', 'output-tokens'].map((kind) => ({
    remaining: `anthropic-ratelimit-${kind}-remaining`,
    reset: `anthropic-ratelimit-${kind}-reset`,
    limit: `anthropic-ratelimit-${kind}-limit`,
  })),
]

/** The only headers of an answer that are stored and shown: none of them names an account. */
const SHOWN_HEADERS: readonly string[] = [
  ...KINDS.flatMap((kind) => Object.values(kind)),
  'retry-after',
  'retry-after-ms',
  'openai-processing-ms',
  'x-request-id',
  'request-id',
]

/**
 * For how many milliseconds nothing is left by an answer's rate headers, up to an hour; null when something is, or
 * nothing is said. A bucket of `limit` refills evenly until its reset, so the next one is there after that part of it.
 */
export function parseRestMs(headers: AnswerHeaders, nowMs: number): number | null {
  const asked = parseNumber(readHeader(headers, 'retry-after-ms'), 1)
  const rests = KINDS.map((kind) => restOf(headers, kind, nowMs)).filter((restMs) => restMs !== null)
  const restMs = Math.max(asked ?? 0, ...rests)
  return restMs > 0 ? Math.min(Math.ceil(restMs), REST_MAX_MS) : null
}

/**
 * The allow-listed headers of an answer, each cut to 200 printable characters. One that holds a secret, as a server may echo
 * what it was sent, is left out.
 */
export function pickHeaders(headers: AnswerHeaders, redact: Redact): Record<string, string> {
  const present = SHOWN_HEADERS.flatMap((name) => {
    const value = readHeader(headers, name)?.replaceAll(/[^\x20-\x7e]/g, '')
    return value ? [[name, value] as const] : []
  })
  // Looked through all at once, which is nearly always enough: this is done for every answer.
  const all = present.map(([, value]) => value).join(' | ')
  const safe = redact(all) === all ? present : present.filter(([, value]) => redact(value) === value)
  return Object.fromEntries(safe.map(([name, value]) => [name, value.slice(0, VALUE_CHARACTERS_MAX)]))
}

function restOf(headers: AnswerHeaders, kind: Kind, nowMs: number): number | null {
  const remaining = readHeader(headers, kind.remaining)
  if (remaining === null || !/^-?\d+(\.\d+)?$/.test(remaining) || Number(remaining) > 0) return null
  const resetMs = parseMoment(readHeader(headers, kind.reset), nowMs)
  if (resetMs === null || resetMs <= 0) return null
  const limit = parseNumber(readHeader(headers, kind.limit), 1) ?? 1
  return limit > 1 ? Math.max(resetMs / limit, REFILL_MIN_MS) : resetMs
}
