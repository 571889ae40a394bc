import type { IncomingHttpHeaders } from 'node:http'
import type { EgressPolicy } from '../shared/egress.ts'
import { InvalidRequestError } from '../shared/errors.ts'
import type { JobOptions } from '../shared/schemas/job.ts'

const SECONDS_MAX = 2_592_000
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }

/** One header: which option it gives, and what its text must be. */
type Rule = { read: (text: string) => Partial<JobOptions> | null; kind: string }

/** In this order, so that of two headers for one option the first counts. */
const RULES: Readonly<Record<string, Rule>> = {
  'X-Job-Priority': {
    read: (text) => (isPriority(text) ? { priority: text } : null),
    kind: '`high`, `normal` or `low`',
  },
  'X-Job-Delay': number('delay', (value) => value >= 0, 'a number of seconds, at most 30 days'),
  'X-Job-Not-Before': {
    read: (text) => {
      const value = readNumber(text)
      return value !== null && value * 1000 - Date.now() <= SECONDS_MAX * 1000 ? { not_before: value } : null
    },
    kind: 'unix seconds at most 30 days from now',
  },
  'X-Job-Expires-In': number(
    'expires_in',
    (value) => value > 0,
    'a number of seconds above 0, at most 30 days',
  ),
  'Cancel-After': {
    read: (text) => {
      const value = readDuration(text)
      return value !== null && value > 0 && value <= SECONDS_MAX ? { expires_in: value } : null
    },
    kind: 'a time above 0 such as `90s`, `90`, `5m` or `2h`, at most 30 days',
  },
  'X-Job-Result-TTL': number(
    'result_ttl',
    Number.isInteger,
    'a whole number of seconds, 0 or more, at most 30 days',
  ),
  'X-Job-Max-Attempts': number(
    'max_attempts',
    (value) => Number.isInteger(value) && value > 0,
    'a whole number above 0',
  ),
  'X-Job-Durability': {
    read: (text) => (text === 'fsync' || text === 'default' ? { durability: text } : null),
    kind: '`fsync` or `default`',
  },
  'X-Job-Webhook': {
    read: (text) => (text.length <= 2048 ? { webhook: { url: text } } : null),
    kind: 'a URL of at most 2,048 characters',
  },
}

/**
 * The options of a job that its request's headers give; they win over the body's, as all headers do here. `X-Job-Timeout` is
 * among the routing headers: it is a setting of each call.
 * @throws {InvalidRequestError} naming the header.
 */
export function readJobHeaders(headers: IncomingHttpHeaders): Partial<JobOptions> {
  let options: Partial<JobOptions> = {}
  for (const [header, { read, kind }] of Object.entries(RULES)) {
    const text = [headers[header.toLowerCase()] ?? []].flat().join(',').trim()
    if (text === '') continue
    const option = read(text)
    if (option === null) throw new InvalidRequestError(`\`${header}\` must be ${kind}.`, header)
    options = { ...option, ...options }
  }
  if (options.delay !== undefined && options.not_before !== undefined) {
    const message = 'Give `X-Job-Delay` or `X-Job-Not-Before`, not both.'
    throw new InvalidRequestError(message, 'X-Job-Not-Before')
  }
  return options
}

/**
 * Options with those of the headers over them: a start time in a header replaces the body's, in whichever form that was.
 * @throws {InvalidRequestError} naming the header.
 */
export function withJobHeaders(
  options: JobOptions,
  headers: IncomingHttpHeaders,
  webhookEgress: EgressPolicy,
): JobOptions {
  const given = readJobHeaders(headers)
  if (given.webhook) webhookEgress.checkUrl(given.webhook.url, 'X-Job-Webhook', { allowQuery: true })
  const hasStart = given.delay !== undefined || given.not_before !== undefined
  const { delay: _delay, not_before: _notBefore, ...others } = options
  return { ...(hasStart ? others : options), ...given }
}

function number(
  option: 'delay' | 'expires_in' | 'result_ttl' | 'max_attempts',
  isValid: (value: number) => boolean,
  kind: string,
): Rule {
  return {
    read: (text) => {
      const value = readNumber(text)
      return value !== null && value <= SECONDS_MAX && isValid(value) ? { [option]: value } : null
    },
    kind,
  }
}

function readNumber(text: string): number | null {
  return /^\d{1,12}(\.\d{1,9})?$/.test(text) ? Number(text) : null
}

function readDuration(text: string): number | null {
  const [, count, unit = 's'] = /^(\d{1,9}(?:\.\d{1,9})?)\s*([smhd])?$/i.exec(text) ?? []
  return count === undefined ? null : Number(count) * (UNIT_SECONDS[unit.toLowerCase()] ?? Number.NaN)
}

function isPriority(text: string): text is 'high' | 'normal' | 'low' {
  return text === 'high' || text === 'normal' || text === 'low'
}
