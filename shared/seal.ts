import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { SealError } from './errors.ts'

const VERSION = 1
const IV_BYTES = 12
const TAG_BYTES = 16

/** Where a sealed value lives. It opens there and nowhere else: a value moved to another record or field fails. */
export type SealPlace = { tenant: string; kind: 'job' | 'delivery'; id: string; field: string }

/**
 * Seals and opens values with AES-256-GCM. The key of each record is derived (HKDF-SHA256) from the master key over
 * tenant, kind and id; the field is bound as additional data.
 *
 * Envelope, bytes: version (1), length of key id (1), key id, IV (12), tag (16), ciphertext.
 *
 * @param keys 32-byte master keys; the first seals, all open.
 */
export function createSealer(keys: readonly { id: string; key: Buffer }[]) {
  const [current] = keys
  if (!current) throw new SealError('No encryption key is configured.', 'seal_no_key')
  const byId = new Map(keys.map(({ id, key }) => [id, key]))
  const currentId = Buffer.from(current.id)
  const header = Buffer.concat([Buffer.from([VERSION, currentId.length]), currentId])

  function seal(place: SealPlace, value: string | Uint8Array): Buffer {
    const iv = randomBytes(IV_BYTES)
    const cipher = createCipheriv('aes-256-gcm', recordKey(current?.key ?? Buffer.alloc(0), place), iv)
    cipher.setAAD(additionalData(header, place.field))
    const ciphertext = typeof value === 'string' ? cipher.update(value, 'utf8') : cipher.update(value)
    cipher.final()
    return Buffer.concat([header, iv, cipher.getAuthTag(), ciphertext])
  }

  /** @throws {SealError} `seal_unknown_key` when its key id is not configured; `seal_open_failed` for anything else. */
  function open(place: SealPlace, envelope: Buffer): Buffer {
    const idLength = envelope[1] ?? 0
    const headerEnd = 2 + idLength
    if (envelope[0] !== VERSION || envelope.length < headerEnd + IV_BYTES + TAG_BYTES) {
      throw new SealError('A sealed value is damaged.')
    }
    const keyId = envelope.toString('utf8', 2, headerEnd)
    const key = byId.get(keyId)
    if (!key) {
      const message = `This record was sealed with encryption key "${keyId}", which is not configured any more.`
      throw new SealError(message, 'seal_unknown_key')
    }
    const tagStart = headerEnd + IV_BYTES
    const decipher = createDecipheriv(
      'aes-256-gcm',
      recordKey(key, place),
      envelope.subarray(headerEnd, tagStart),
    )
    decipher.setAAD(additionalData(envelope.subarray(0, headerEnd), place.field))
    decipher.setAuthTag(envelope.subarray(tagStart, tagStart + TAG_BYTES))
    const plain = decipher.update(envelope.subarray(tagStart + TAG_BYTES))
    try {
      return Buffer.concat([plain, decipher.final()])
    } catch (cause) {
      const error = new SealError('A sealed value does not open here: it was changed or belongs elsewhere.')
      error.cause = cause
      throw error
    }
  }

  return { seal, open }
}

export type Sealer = ReturnType<typeof createSealer>

function recordKey(master: Buffer, { tenant, kind, id }: SealPlace): Buffer {
  return Buffer.from(hkdfSync('sha256', master, 'byok-gateway', `${tenant}\0${kind}\0${id}`, 32))
}

// The header is bound too, so that nobody can relabel an envelope with another key id.
function additionalData(header: Buffer, field: string): Buffer {
  return Buffer.concat([header, Buffer.from(field)])
}
