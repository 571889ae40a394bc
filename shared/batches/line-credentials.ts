import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto'
import { LINE_KEY_BYTES } from './batch-record.ts'
import { SealError } from '../errors.ts'
import { findJsonError } from '../json-position.ts'
import { jsonMembers, skipBlanks } from './json-members.ts'
import { careOf, isBesideBody, isSecret, type Care } from './line-fields.ts'
import { randomPart } from '../random.ts'
import type { RecordSealer } from '../seal.ts'

/**
 * Credentials of a batch line, cut out of its text and put back. What is cut out is sealed under the file's key and, once
 * more, under a random key of this line alone: with that key it is gone, whatever becomes of the store.
 */

/** Of a line and its body together. Each is looked at while a client waits, and no request has a tenth of them. */
export const FIELDS_MAX = 1_000

const IV_BYTES = 12
const TAG_BYTES = 16
/** What stands in the place of a value that was cut out. */
const MARK = Buffer.from('"[erased]"')
/** Before each piece: where its mark stands, how long it is. */
const PIECE_HEAD_BYTES = 8
const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b
const QUOTE = 0x22
const BACKSLASH = 0x5c
/** `null`, `true` and `false` are no secrets. */
const LETTER_N = 0x6e
const LETTER_T = 0x74
const LETTER_F = 0x66

/** Why the text of a line was not kept; it might have held a key where nothing can be found. */
export type Unkept = {
  code: 'invalid_json_line' | 'invalid_utf8' | 'line_too_large' | 'too_many_fields' | 'too_many_lines'
  /** Index of the character where it stops being JSON; null for JSON that is no object, and for the other codes. */
  at: number | null
}

/** What stands for a line that was not kept. No JSON, so that no line looks like it. */
export function unkeptText({ code, at }: Unkept): Buffer {
  return Buffer.from(at === null ? `[erased: ${code}]` : `[erased: ${code} at ${at}]`)
}

/** Why a stored line was not kept; null for one that was. */
export function readUnkept(text: Buffer): Unkept | null {
  if (text[0] !== OPEN_BRACKET || text.length > 64) return null
  const parts =
    /^\[erased: (invalid_json_line|invalid_utf8|line_too_large|too_many_fields|too_many_lines)(?: at (\d+))?\]$/.exec(
      text.toString('latin1'),
    )
  if (!parts) return null
  const [, code, at] = parts
  return { code: code as Unkept['code'], at: at === undefined ? null : Number(at) } // by the pattern
}

/** A line as it is stored, and what was cut out of it, packed; null: nothing. */
type SplitText = { stored: Buffer; pieces: Buffer | null }

/**
 * Cuts the credentials out of a line, wherever the gateway would read some, beside `body` and in it.
 * @param text valid UTF-8, without its newline.
 */
export function splitLine(text: Buffer): SplitText {
  const unkept = faultOf(text)
  if (unkept) return { stored: unkeptText(unkept), pieces: null }
  const secrets = secretsOf(text)
  if (!secrets) return { stored: unkeptText({ code: 'too_many_fields', at: null }), pieces: null }
  if (secrets.length === 0) return { stored: text, pieces: null }
  const stored: Buffer[] = []
  const pieces: Buffer[] = []
  let done = 0
  let length = 0
  for (const { from, to } of secrets) {
    stored.push(text.subarray(done, from), MARK)
    length += from - done
    const head = Buffer.allocUnsafe(PIECE_HEAD_BYTES)
    head.writeUInt32BE(length, 0)
    head.writeUInt32BE(to - from, 4)
    pieces.push(head, text.subarray(from, to))
    length += MARK.length
    done = to
  }
  stored.push(text.subarray(done))
  return { stored: Buffer.concat(stored), pieces: Buffer.concat(pieces) }
}

/**
 * Puts back what was cut out of a line.
 * @throws {SealError} when the two do not belong together.
 */
export function joinLine(stored: Buffer, pieces: Buffer): Buffer {
  const parts: Buffer[] = []
  let done = 0
  for (let at = 0; at < pieces.length;) {
    const place = pieces.readUInt32BE(at)
    const end = at + PIECE_HEAD_BYTES + pieces.readUInt32BE(at + 4)
    if (place < done || !stored.subarray(place, place + MARK.length).equals(MARK)) {
      throw new SealError('The credentials of a line do not belong to its text: one of the two was changed.')
    }
    parts.push(stored.subarray(done, place), pieces.subarray(at + PIECE_HEAD_BYTES, end))
    done = place + MARK.length
    at = end
  }
  parts.push(stored.subarray(done))
  return Buffer.concat(parts)
}

/** Seals what was cut out of a line, twice; only with `key` can it be opened. */
export function sealPieces(
  sealed: RecordSealer,
  line: number,
  pieces: Buffer,
): { key: Buffer; envelope: Buffer } {
  const key = randomPart(LINE_KEY_BYTES)
  const iv = randomPart(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', createSecretKey(key), iv)
  const ciphertext = cipher.update(sealed.seal(fieldOf(line), pieces))
  cipher.final()
  return { key, envelope: Buffer.concat([iv, cipher.getAuthTag(), ciphertext]) }
}

/**
 * Opens what was cut out of a line; null when its key was erased.
 * @throws {SealError} for another line's, file's or tenant's.
 */
export function openPieces(sealed: RecordSealer, line: number, key: Buffer, envelope: Buffer): Buffer | null {
  // A key never written reads as shorter, one that was erased as zeros.
  if (key.length < LINE_KEY_BYTES || key.every((byte) => byte === 0)) return null
  if (envelope.length < IV_BYTES + TAG_BYTES) throw new SealError('The credentials of a line are damaged.')
  const decipher = createDecipheriv('aes-256-gcm', createSecretKey(key), envelope.subarray(0, IV_BYTES))
  decipher.setAuthTag(envelope.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
  const inner = decipher.update(envelope.subarray(IV_BYTES + TAG_BYTES))
  try {
    decipher.final()
  } catch (cause) {
    const error = new SealError('The credentials of a line do not open with its key.')
    error.cause = cause
    throw error
  }
  return sealed.open(fieldOf(line), inner)
}

function fieldOf(line: number): string {
  return `credentials:${line}`
}

function faultOf(text: Buffer): Unkept | null {
  const written = text.toString()
  try {
    JSON.parse(written)
  } catch {
    return { code: 'invalid_json_line', at: findJsonError(written) ?? written.length }
  }
  const isObject = text[skipBlanks(text, 0)] === OPEN_BRACE
  return isObject ? null : { code: 'invalid_json_line', at: null }
}

type Span = { from: number; to: number }

/** Null: there are more fields than are looked at. */
function secretsOf(text: Buffer): Span[] | null {
  const secrets: Span[] = []
  let seen = 0
  for (const { name, from, to } of jsonMembers(text, skipBlanks(text, 0))) {
    if (++seen > FIELDS_MAX) return null
    if (name === 'body' && text[from] === OPEN_BRACE) {
      for (const member of jsonMembers(text, from)) {
        if (++seen > FIELDS_MAX) return null
        if (isCutOut(careOf(member.name), text, member)) secrets.push(member)
      }
    } else if (isCutOut(careBeside(name, text[from]), text, { from, to })) secrets.push({ from, to })
  }
  return secrets
}

/** Of a field beside `body`. What has no place there may be anything: the batch will be refused for it. */
function careBeside(name: string, first: number | undefined): Care {
  if (PLAIN_BESIDE.has(name)) return first === QUOTE ? 'plain' : 'secret'
  return isBesideBody(name) ? careOf(name) : 'secret'
}

const PLAIN_BESIDE: ReadonlySet<string> = new Set(['custom_id', 'method', 'url', 'customer'])

function isCutOut(care: Care, text: Buffer, { from, to }: Span): boolean {
  if (care === 'plain') return false
  const value = text.subarray(from, to)
  const first = value[0]
  if (first === LETTER_N || first === LETTER_T || first === LETTER_F || value.equals(MARK)) return false
  if (care === 'secret') return true
  if (care === 'fallbacks') return !isSurelyNames(value)
  return (first === OPEN_BRACE || first === OPEN_BRACKET) && value.includes(OPEN_BRACE)
}

// What `JSON.parse` tells is not all: of a name that stands twice it knows one value only.
function isSurelyNames(value: Buffer): boolean {
  if (value.includes(BACKSLASH)) return false
  const parsed: unknown = JSON.parse(value.toString())
  if (isSecret('fallbacks', parsed) || !Array.isArray(parsed)) return false
  const objects = parsed.filter((item) => typeof item === 'object').length
  return value.filter((byte) => byte === OPEN_BRACE).length === objects
}
