import { InvalidRequestError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'

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

/** JSON with sorted keys: two bodies that mean the same give the same text. The depth was bounded by the body parser. */
export function toCanonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return item
    return Object.fromEntries(Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  })
}
