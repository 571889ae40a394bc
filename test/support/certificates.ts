import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'

/**
 * A certificate authority and one server certificate for the given names, as PEM: just enough X.509 (RFC 5280, DER)
 * for a test server that a client reaches under a public name. Node can read certificates but not make them.
 */
export function createCertificates(hosts: readonly string[]): {
  ca: string
  certificate: string
  key: string
} {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = name('Test authority')
  const isAuthority = extension([0x55, 0x1d, 0x13], sequence(tlv(0x01, Buffer.from([0xff]))))
  const names = sequence(...hosts.map((host) => tlv(0x82, Buffer.from(host))))
  const ca = certificate(issuer, issuer, authority.publicKey, isAuthority, authority.privateKey)
  const leaf = certificate(
    issuer,
    name(hosts[0] ?? 'localhost'),
    server.publicKey,
    extension([0x55, 0x1d, 0x11], names),
    authority.privateKey,
  )
  const key = server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { ca: pem(ca), certificate: pem(leaf), key }
}

const ECDSA_WITH_SHA256 = sequence(objectId([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]))
const DAY_MS = 86_400_000

function certificate(
  issuer: Buffer,
  subject: Buffer,
  subjectKey: KeyObject,
  extra: Buffer,
  signer: KeyObject,
) {
  const validity = sequence(time(Date.now() - DAY_MS), time(Date.now() + DAY_MS))
  const version3 = tlv(0xa0, tlv(0x02, Buffer.from([2])))
  // A serial is positive: its first byte stays below 0x80.
  const serial = tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)]))
  const publicKey = subjectKey.export({ type: 'spki', format: 'der' })
  const extensions = tlv(0xa3, sequence(extra))
  const body = sequence(version3, serial, ECDSA_WITH_SHA256, issuer, validity, subject, publicKey, extensions)
  const signature = sign('sha256', body, signer)
  return sequence(body, ECDSA_WITH_SHA256, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])))
}

function name(commonName: string): Buffer {
  const pair = sequence(objectId([0x55, 0x04, 0x03]), tlv(0x0c, Buffer.from(commonName)))
  return sequence(tlv(0x31, pair))
}

function extension(id: readonly number[], value: Buffer): Buffer {
  return sequence(objectId(id), tlv(0x04, value))
}

function time(atMs: number): Buffer {
  const digits = new Date(atMs).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)
  return tlv(0x18, Buffer.from(`${digits}Z`))
}

function objectId(bytes: readonly number[]): Buffer {
  return tlv(0x06, Buffer.from(bytes))
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts))
}

function tlv(tag: number, value: Buffer): Buffer {
  const { length } = value
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), value])
  if (length < 0x100) return Buffer.concat([Buffer.from([tag, 0x81, length]), value])
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), value])
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
