import { expect, test } from 'vitest'
import { fingerprintRequest, readIdempotencyKey, toCanonicalJson } from '../../api/idempotency.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import { createIds } from '../../shared/ids.ts'
import { parseJsonLossless } from '../../shared/lossless-json.ts'

const ids = createIds('an-id-secret-for-tests')
const base = { tenant: 'a', customer: null, path: '/v1/jobs', key: 'k', body: { a: 1, b: [{ c: 2, d: 3 }] } }

test('a key counts the same bare and quoted', () => {
  expect(readIdempotencyKey('8e03978e')).toBe('8e03978e')
  expect(readIdempotencyKey(' "8e03978e" ')).toBe('8e03978e')
  expect(readIdempotencyKey('"a\\"b\\\\c"')).toBe('a"b\\c')
  expect(readIdempotencyKey(undefined)).toBeNull()
})

test.for(['', '""', 'two words', 'x'.repeat(256), 'k\u00e9y'])('%j is refused as a key', (header) => {
  expect(() => readIdempotencyKey(header)).toThrow(InvalidRequestError)
})

test('the order of keys in a body does not matter, everything else does', () => {
  const hash = (body: unknown) => fingerprintRequest(ids, { ...base, body }).bodyHash
  expect(hash({ b: [{ d: 3, c: 2 }], a: 1 })).toBe(hash(base.body))
  expect(hash({ ...base.body, a: 2 })).not.toBe(hash(base.body))
  expect(hash({ ...base.body, e: null })).not.toBe(hash(base.body))
  expect(toCanonicalJson([2, 1, { b: 'ü', a: undefined }])).toBe('[2,1,{"b":"ü"}]')
  const deep = parseJsonLossless('{"b":[{"z":12345678901234567890,"y":1e400}],"10":1,"9":2}')
  expect(toCanonicalJson(deep)).toBe('{"9":2,"10":1,"b":[{"y":1e400,"z":12345678901234567890}]}')
})

test.for([{ tenant: 'b' }, { path: '/v1/chat/completions' }, { key: 'l' }])(
  'a key holds only in its own scope: %j is another one',
  (change) => {
    const { fingerprint } = fingerprintRequest(ids, { ...base, ...change })
    expect(fingerprint).not.toBe(fingerprintRequest(ids, base).fingerprint)
  },
)

test('the customer is part of the body, not of the scope', () => {
  const [mine, his] = [base, { ...base, customer: 'c' }].map((request) => fingerprintRequest(ids, request))
  expect(his?.fingerprint).toBe(mine?.fingerprint)
  expect(his?.bodyHash).not.toBe(mine?.bodyHash)
})
