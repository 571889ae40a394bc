import { InvalidRequestError } from '../shared/errors.ts'
import { ExpiresAfter, UPLOAD_PURPOSES } from '../shared/schemas/file.ts'

const BATCH_KEPT_MS = 30 * 86_400_000
const EXPIRES = /^expires_after\[(anchor|seconds)\]$/

/** A field of a multipart body; one that says it is JSON comes parsed. */
type FormField = { fieldname: string; value: unknown; valueTruncated: boolean }

/** The fields of an upload beside its file, as they come. */
export function createUploadFields() {
  let purpose: string | null = null
  let expiresAfter: Record<string, unknown> | null = null

  return {
    /** @throws {InvalidRequestError} for one that does not exist, or is wrong. */
    note({ fieldname, value, valueTruncated }: FormField): void {
      if (valueTruncated) throw new InvalidRequestError(`The field \`${fieldname}\` is too long.`, fieldname)
      const part = EXPIRES.exec(fieldname)?.[1]
      if (part !== undefined) expiresAfter = { ...expiresAfter, [part]: value }
      else if (fieldname === 'expires_after') expiresAfter = { ...parseObject(value) }
      else if (fieldname === 'purpose') purpose = checkPurpose(value)
      else if (fieldname === 'file') {
        throw new InvalidRequestError('Send `file` as a file, with a filename.', 'file', 'invalid_file')
      } else {
        throw new InvalidRequestError(`Unknown field \`${fieldname}\`.`, fieldname, 'unknown_parameter')
      }
    },

    /** Null while it has not come. */
    purpose: (): string | null => purpose,

    /** What all of them say. @throws {InvalidRequestError} when something is missing or wrong. */
    end(): { purpose: string; expiresInMs: number | null } {
      if (purpose === null) {
        const message = `Say what the file is for, in the field \`purpose\`: ${UPLOAD_PURPOSES.join(', ')}.`
        throw new InvalidRequestError(message, 'purpose', 'missing_required_parameter')
      }
      const keptMs = purpose === 'batch' ? BATCH_KEPT_MS : null
      return { purpose, expiresInMs: expiresAfter === null ? keptMs : readExpiry(expiresAfter) }
    },
  }
}

function checkPurpose(value: unknown): string {
  const purpose = UPLOAD_PURPOSES.find((known) => known === value)
  if (purpose !== undefined) return purpose
  throw new InvalidRequestError(`\`purpose\` must be one of ${UPLOAD_PURPOSES.join(', ')}.`, 'purpose')
}

function readExpiry(given: Record<string, unknown>): number {
  const parsed = ExpiresAfter.safeParse(given)
  if (parsed.success) return parsed.data.seconds * 1000
  const part = parsed.error.issues[0]?.path[0]
  const message = '`expires_after` must hold anchor "created_at" and 3600 to 2592000 seconds.'
  throw new InvalidRequestError(
    message,
    part === undefined ? 'expires_after' : `expires_after.${String(part)}`,
  )
}

function parseObject(value: unknown): object {
  try {
    const parsed: unknown = typeof value === 'string' ? JSON.parse(value) : value
    if (typeof parsed === 'object' && parsed !== null) return parsed
  } catch {
    // Told below: a parser's message would quote the field.
  }
  throw new InvalidRequestError('`expires_after` must be a JSON object.', 'expires_after')
}
