import { hkdfSync, randomBytes } from 'node:crypto'
import { createDecipheriv } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pack, unpack } from '../../shared/compression.ts'
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

test('a body that is packed before it is sealed opens to the same bytes, and takes less room', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4000 }), fc.nat({ max: 300 }), (bytes, times) => {
      const body = Buffer.concat([bytes, Buffer.from('again and again '.repeat(times))])
      expect(sealer.open(place, sealer.seal(place, body, 0)).equals(body)).toBe(true)
    }),
  )
  const prose = JSON.stringify({ messages: [{ role: 'user', content: 'grüße an alle, '.repeat(200) }] })
  const packed = sealer.seal(place, prose, 1024)
  expect(packed.length).toBeLessThan(sealer.seal(place, prose).length / 4)
  expect(sealer.open(place, packed).toString()).toBe(prose)
})

test('nothing is packed that is short, does not get shorter, is large, or was not asked for', () => {
  const plainBytes = (bytes: number) => sealer.seal(place, '').length + bytes
  const large = Buffer.alloc(3 * 1024 * 1024, 'large ')
  for (const body of [Buffer.from('short '.repeat(100)), randomBytes(5000), large]) {
    const sealed = sealer.seal(place, body, 1024)
    expect(sealed.length).toBe(plainBytes(body.length))
    expect(sealer.open(place, sealed).equals(body)).toBe(true)
  }
  expect(sealer.seal(place, Buffer.alloc(5000)).length).toBe(plainBytes(5000))
})

test('nobody can say of a sealed value that it is packed, or of a packed one that it is not', () => {
  for (const packFrom of [0, Number.POSITIVE_INFINITY]) {
    const sealed = sealer.seal(place, 'again and again '.repeat(100), packFrom)
    sealed[0] = sealed[0] === 1 ? 2 : 1
    expect(() => sealer.open(place, sealed)).toThrow('does not open here')
  }
})

test('what unpacks to more than it says, or is not what was packed, is not unpacked', () => {
  const bomb = pack(Buffer.alloc(1024 * 1024)) ?? Buffer.alloc(0)
  expect(bomb.length).toBeLessThan(1000)
  for (const length of [0, 1000, 1024 * 1024 - 1, 1024 * 1024 + 1, 2 ** 32 - 1]) {
    const lying = Buffer.from(bomb)
    lying.writeUInt32BE(length)
    expect(() => unpack(lying)).toThrow('damaged')
  }
  for (const cut of [0, 3, 4, 20]) expect(() => unpack(bomb.subarray(0, cut))).toThrow('damaged')
  expect(unpack(bomb).length).toBe(1024 * 1024)
})

test('whether the current key sealed a value can be seen, packed or not', () => {
  for (const packFrom of [0, Number.POSITIVE_INFINITY]) {
    expect(sealer.isCurrent(sealer.seal(place, 'x'.repeat(2000), packFrom))).toBe(true)
    expect(sealer.isCurrent(createSealer([old]).seal(place, 'x'.repeat(2000), packFrom))).toBe(false)
  }
})
