import { invalid } from './notes.ts'
import { refuseReferences } from './refused-keys.ts'

const SECRET = /^[\x21-\x7e]+$/
/** Longest credential, and longest key file, in characters. */
export const SECRET_CHARACTERS_MAX = 16_384

/**
 * A field that is text when it is given; null when it is not.
 * @throws {InvalidRequestError} with the field's path.
 */
export function readText(fields: Record<string, unknown>, name: string, prefix: string): string | null {
  const value = fields[name]
  if (value === undefined || value === null) return null
  const path = `${prefix}${name}`
  if (typeof value !== 'string') throw invalid(path, 'must be a string.')
  // Taken for absent, an empty variable would let the call go out with another key or to another base than meant.
  if (value.trim() === '') throw invalid(path, 'is empty. Give a value or leave it out.')
  refuseReferences(value, path)
  return value
}

/**
 * A field that is a credential: one word that a header can carry.
 * @throws {InvalidRequestError} with the field's path; the value is not repeated.
 */
export function readSecret(fields: Record<string, unknown>, name: string, prefix: string): string | null {
  const value = readText(fields, name, prefix)
  if (value === null) return null
  const path = `${prefix}${name}`
  if (!SECRET.test(value)) {
    throw invalid(path, 'must be printable ASCII without spaces or line breaks; check how it was copied.')
  }
  if (value.length > SECRET_CHARACTERS_MAX) throw invalid(path, 'is too long to be a credential.')
  return value
}
