import { createCipheriv, createDecipheriv, createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { pack, unpack } from './compression.ts'
import { SealError } from './errors.ts'
import { randomPart } from './random.ts'

// The first byte says whether the plaintext is as it came or packed. It is bound as all of the header is.
const PLAIN = 1
const PACKED = 2
const IV_BYTES = 12
const TAG_BYTES = 16
const SALT = 'byok-gateway'

/** The record a value is sealed for. It opens there and nowhere else. */
export type SealedRecord = {
  tenant: string
  kind: 'job' | 'delivery' | 'file' | 'batch' | 'endpoint' | 'event' | 'credential'
  id: string
}

/** A field of a record: a value moved to another record or field fails to open. */
export type SealPlace = SealedRecord & { field: string }

type MasterKey = { id: string; plainHeader: Buffer; packedHeader: Buffer; extracted: KeyObject }

/**
 * Seals and opens values with AES-256-GCM. The key of each record is derived (HKDF-SHA256) from the master key over
 * tenant, kind and id; the field is bound as additional data.
 *
 * Envelope, bytes: version (1: plain, 2: packed before it was sealed), length of key id (1), key id, IV (12), tag (16),
 * ciphertext.
 *
 * Only whole bodies are packed, and only where their caller asks for it: a request, a result. The length of what is packed
 * tells of what is in it, so whoever could put text of his own beside a secret could guess at the secret by lengths (as CRIME
 * did). Credentials therefore lie in fields of their own and are never packed; nor are pieces of a stream, whose lengths would
 * tell each of them. See docs/decisions/0029-compressed-bodies.md.
 *
 * @param keys 32-byte master keys; the first seals, all open.
 */
export function createSealer(keys: readonly { id: string; key: Buffer }[]) {
  const masters = keys.map(({ id, key }) => extract(id, key))
  const [current] = masters
  if (!current) throw new SealError('No encryption key is configured.', 'seal_no_key')
  let sealedBytes = 0

  /** Seals and opens the fields of one record; its key is derived once. */
  function record(place: SealedRecord) {
    const derived = new Map<MasterKey, KeyObject>()
    const keyOf = (master: MasterKey): KeyObject => {
      const known = derived.get(master)
      if (known) return known
      const key = expand(master, place)
      derived.set(master, key)
      return key
    }

    return {
      /** @param packFrom Length from which on it is packed first, if that makes it shorter; never unless given. */
      seal(field: string, value: string | Uint8Array, packFrom = Number.POSITIVE_INFINITY): Buffer {
        const master = current as MasterKey // checked above
        const packed = value.length >= packFrom ? pack(value) : null
        const [header, content] = packed ? [master.packedHeader, packed] : [master.plainHeader, value]
        const iv = randomPart(IV_BYTES)
        const cipher = createCipheriv('aes-256-gcm', keyOf(master), iv)
        cipher.setAAD(additionalData(header, field))
        const ciphertext =
          typeof content === 'string' ? cipher.update(content, 'utf8') : cipher.update(content)
        cipher.final()
        sealedBytes += content.length
        return Buffer.concat([header, iv, cipher.getAuthTag(), ciphertext])
      },

      /** @throws {SealError} `seal_unknown_key` when its key id is not configured; `seal_open_failed` for anything else. */
      open(field: string, envelope: Buffer): Buffer {
        const headerEnd = 2 + (envelope[1] ?? 0)
        const [version] = envelope
        if ((version !== PLAIN && version !== PACKED) || envelope.length < headerEnd + IV_BYTES + TAG_BYTES) {
          throw new SealError('A sealed value is damaged.')
        }
        const keyId = envelope.toString('utf8', 2, headerEnd)
        const master = masters.find(({ id }) => id === keyId)
        if (!master) throw unknownKey(keyId)
        const tagStart = headerEnd + IV_BYTES
        const iv = envelope.subarray(headerEnd, tagStart)
        const decipher = createDecipheriv('aes-256-gcm', keyOf(master), iv)
        decipher.setAAD(additionalData(version === PACKED ? master.packedHeader : master.plainHeader, field))
        decipher.setAuthTag(envelope.subarray(tagStart, tagStart + TAG_BYTES))
        const plain = decipher.update(envelope.subarray(tagStart + TAG_BYTES))
        try {
          decipher.final()
        } catch (cause) {
          const error = new SealError(
            'A sealed value does not open here: it was changed or belongs elsewhere.',
          )
          error.cause = cause
          throw error
        }
        return version === PACKED ? unpack(plain) : plain
      },
    }
  }

  return {
    record,
    seal: ({ field, ...place }: SealPlace, value: string | Uint8Array, packFrom?: number) =>
      record(place).seal(field, value, packFrom),
    open: ({ field, ...place }: SealPlace, envelope: Buffer) => record(place).open(field, envelope),
    /** How much was sealed here so far. */
    sealedBytes: (): number => sealedBytes,
    /** Whether the key that seals now has sealed it: what is kept without an end is sealed anew before its key goes. */
    isCurrent: (envelope: Buffer): boolean =>
      envelope.subarray(1, current.plainHeader.length).equals(current.plainHeader.subarray(1)),
  }
}

export type Sealer = ReturnType<typeof createSealer>

/** Seals and opens the fields of one record. */
export type RecordSealer = ReturnType<Sealer['record']>

function unknownKey(keyId: string): SealError {
  const message = `This record was sealed with encryption key "${keyId}", which is not configured any more.`
  return new SealError(message, 'seal_unknown_key')
}

// HKDF (RFC 5869) in its two steps: the first is the same for all records and done once, the second is one block.
function extract(id: string, key: Buffer): MasterKey {
  const idBytes = Buffer.from(id)
  const [plainHeader, packedHeader] = [PLAIN, PACKED].map((version) =>
    Buffer.concat([Buffer.from([version, idBytes.length]), idBytes]),
  ) as [Buffer, Buffer] // one for each
  const extracted = createSecretKey(createHmac('sha256', SALT).update(key).digest())
  return { id, plainHeader, packedHeader, extracted }
}

// As a KeyObject: Node takes twice as long to look at a plain Buffer as to encrypt with it.
function expand({ extracted }: MasterKey, { tenant, kind, id }: SealedRecord): KeyObject {
  return createSecretKey(createHmac('sha256', extracted).update(`${tenant}\0${kind}\0${id}\x01`).digest())
}

// The header is bound too, so that nobody can relabel an envelope with another key id.
function additionalData(header: Buffer, field: string): Buffer {
  return Buffer.concat([header, Buffer.from(field)])
}
