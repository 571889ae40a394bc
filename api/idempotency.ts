import { InvalidRequestError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'
import { isRawNumber } from '../shared/lossless-json.ts'

const KEY = /^[\x21-\x7e]{1,255}$/

/**
 * Reads `Idempotency-Key`, bare (as most clients send it) or quoted (as the IETF draft has it); null when there is none.
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
 * @throws {InvalidRequestError} unless it is 1 to 255 printable ASCII characters without spaces.
 */
export function readIdempotencyKey(header: string | string[] | undefined): string | null {
  if (header === undefined) return null
  const text = [header].flat().join(',').trim()
  const quoted = /^"((?:[^"\\]|\\["\\])*)"$/.exec(text)
  const key = quoted ? (quoted[1] ?? '').replaceAll(/\\(["\\])/g, '$1') : text
  if (KEY.test(key)) return key
  const message = 'An idempotency key is 1 to 255 printable ASCII characters without spaces.'
  throw new InvalidRequestError(message, 'Idempotency-Key')
}

/**
 * What an idempotency key is stored as: its scope is tenant, method and path; the customer, who may stand in a header,
 * counts as part of the body. Both are keyed, so that neither key nor body can be guessed from Redis.
 */
export function fingerprintRequest(
  ids: Ids,
  {
    tenant,
    customer,
    path,
    key,
    body,
  }: {
    tenant: string
    customer: string | null
    path: string
    key: string
    body: unknown
  },
): { fingerprint: string; bodyHash: string } {
  return {
    fingerprint: ids.fingerprint('idempotency', tenant, 'POST', path, key),
    bodyHash: ids.fingerprint('idempotency-body', tenant, customer ?? '', toCanonicalJson(body)),
  }
}

/**
 * JSON with sorted keys: two bodies that mean the same give the same text. The depth was bounded by the body parser. Only what
 * is out of order is copied: a body of many megabytes is on the way of everybody else's.
 */
export function toCanonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value))
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || isRawNumber(value)) return value
  if (Array.isArray(value)) {
    const items = value.map(sorted)
    return items.every((item, index) => item === value[index]) ? value : items
  }
  const entries = Object.entries(value)
  const copies = entries.map(([name, item]): [string, unknown] => [name, sorted(item)])
  const isInOrder = entries.every(([name], index) => index === 0 || (entries[index - 1]?.[0] ?? '') <= name)
  if (isInOrder && copies.every(([, item], index) => item === entries[index]?.[1])) return value
  return Object.fromEntries(copies.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
