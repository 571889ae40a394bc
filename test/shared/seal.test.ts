import { hkdfSync, randomBytes } from 'node:crypto'
import { createDecipheriv } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createSealer } from '../../shared/seal.ts'

const old = { id: 'old', key: randomBytes(32) }
const fresh = { id: 'new', key: randomBytes(32) }
const sealer = createSealer([fresh, old])
const place = { tenant: 'acme', kind: 'job' as const, id: 'job_1', field: 'cred' }

test('what was sealed opens to the same bytes, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      expect(sealer.open(place, sealer.seal(place, bytes)).equals(Buffer.from(bytes))).toBe(true)
    }),
  )
  expect(sealer.open(place, sealer.seal(place, 'grüße')).toString()).toBe('grüße')
})

test('a value moved to another tenant, kind, record or field does not open', () => {
  const sealed = sealer.seal(place, 'secret')
  for (const moved of [
    { tenant: 'other' },
    { kind: 'delivery' as const },
    { id: 'job_2' },
    { field: 'req' },
  ]) {
    expect(() => sealer.open({ ...place, ...moved }, sealed)).toThrow('does not open here')
  }
})

test('a changed byte anywhere keeps it shut', () => {
  const sealed = sealer.seal(place, 'secret')
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(() => sealer.open(place, changed)).toThrow()
  }
})

test('the first key seals and old keys still open; a lost key says its id', () => {
  const sealedByOld = createSealer([old]).seal(place, 'secret')
  expect(sealer.open(place, sealedByOld).toString()).toBe('secret')
  expect(sealer.seal(place, 'x').toString('latin1', 2, 5)).toBe('new')
  expect(() => createSealer([fresh]).open(place, sealedByOld)).toThrow('"old"')
})

test('the same value sealed twice gives different bytes', () => {
  const sealed = Array.from({ length: 500 }, () => sealer.seal(place, 'x').toString('hex'))
  expect(new Set(sealed).size).toBe(500)
})

test("the record's key is HKDF-SHA256 of the master key, as Node computes it", () => {
  const sealed = sealer.seal(place, 'secret')
  const info = Buffer.from('acme\0job\0job_1')
  const key = Buffer.from(hkdfSync('sha256', fresh.key, Buffer.from('byok-gateway'), info, 32))
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(5, 17))
  decipher.setAAD(Buffer.concat([sealed.subarray(0, 5), Buffer.from('cred')]))
  decipher.setAuthTag(sealed.subarray(17, 33))
  expect(Buffer.concat([decipher.update(sealed.subarray(33)), decipher.final()]).toString()).toBe('secret')
})
