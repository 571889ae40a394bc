import { createHash, createHmac } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { LedgerEntry } from './provider.ts'

/**
 * Events as Amazon streams them: each a frame of lengths, headers, payload and two checksums.
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the frame)
 */
export function amazonEvents(events: readonly [name: string, payload: object][], kind = 'event'): Buffer {
  return Buffer.concat(
    events.map(([name, payload]) =>
      frame(
        { [`:${kind}-type`]: name, ':content-type': 'application/json', ':message-type': kind },
        Buffer.from(JSON.stringify(payload)),
      ),
    ),
  )
}

export const AMAZON_STREAM = { 'content-type': 'application/vnd.amazon.eventstream' }

/**
 * The signature that a request to Bedrock should bear, by the headers that it says are signed.
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function signatureOf(
  entry: LedgerEntry,
  secret: string,
): { expected: string; signed: string[]; scope: string } {
  const written = String(entry.headers['authorization'])
  const [, scope = '', names = ''] =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/([^,]+), SignedHeaders=([^,]+), Signature=/.exec(written) ?? []
  const signed = names.split(';')
  const headers = signed.map((name) => `${name}:${String(entry.headers[name]).trim()}\n`).join('')
  // Every service but S3 signs a path that is encoded once more than it is sent.
  const path = entry.path.split('/').map(encodeURIComponent).join('/')
  const canonical = ['POST', path, '', headers, names, sha256(JSON.stringify(entry.body))].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', String(entry.headers['x-amz-date']), scope, sha256(canonical)].join(
    '\n',
  )
  const key = scope.split('/').reduce<Buffer | string>((last, part) => hmac(last, part), `AWS4${secret}`)
  return { expected: hmac(key, toSign).toString('hex'), signed, scope }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function frame(fields: Record<string, string>, payload: Buffer): Buffer {
  const headers = Buffer.concat(
    Object.entries(fields).map(([name, value]) => {
      const size = Buffer.alloc(2)
      size.writeUInt16BE(Buffer.byteLength(value))
      const text = 7
      return Buffer.concat([
        Buffer.from([name.length]),
        Buffer.from(name),
        Buffer.from([text]),
        size,
        Buffer.from(value),
      ])
    }),
  )
  const prelude = Buffer.alloc(8)
  prelude.writeUInt32BE(headers.length + payload.length + 16, 0)
  prelude.writeUInt32BE(headers.length, 4)
  const body = Buffer.concat([prelude, checksum(prelude), headers, payload])
  return Buffer.concat([body, checksum(body)])
}

function checksum(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4)
  sum.writeUInt32BE(crc32(bytes))
  return sum
}
