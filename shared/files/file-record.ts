import { SealError } from '../errors.ts'
import type { Sealer } from '../seal.ts'

/** A file as the API uses it. */
export type FileView = {
  id: string
  tenant: string
  /** As `/content` gives them. */
  bytes: number
  frameBytes: number
  filename: string
  purpose: string
  createdMs: number
  /** Null: kept until it is deleted. */
  expiresMs: number | null
  /** Of a batch's input. */
  lines: number | null
  /** Some lines carry credentials of their own, beside what `/content` gives. */
  hasCredentials: boolean
  source: { kind: 'upload' } | { kind: 'batch'; batchId: string; part: 'output' | 'error' }
}

/** Fields of a file's hash, in the order that `parseFile` takes their values. */
export const FILE_FIELDS = [
  'tenant', 'created', 'expires', 'bytes', 'frame', 'purpose', 'lines', 'credentials', 'batch', 'part', 'name',
] as const // oxfmt-ignore

/** Hash fields -> file; null when there is none, or it is not created yet. */
export function parseFile(id: string, fields: readonly (Buffer | null)[], sealer: Sealer): FileView | null {
  const [tenant, created, expires, bytes, frame, purpose, lines, credentials, batchId, part] = fields.map(
    (field) => field?.toString() ?? null,
  )
  if (!tenant || !created || !purpose) return null
  return {
    id,
    tenant,
    bytes: Number(bytes),
    frameBytes: Number(frame),
    filename: openName({ tenant, id }, fields.at(-1) ?? null, sealer),
    purpose,
    createdMs: Number(created),
    expiresMs: expires ? Number(expires) : null,
    lines: lines ? Number(lines) : null,
    hasCredentials: credentials === '1',
    source:
      batchId && (part === 'output' || part === 'error')
        ? { kind: 'batch', batchId, part }
        : { kind: 'upload' },
  }
}

// One name that does not open must not hide all the other files of a list.
function openName(file: { tenant: string; id: string }, sealed: Buffer | null, sealer: Sealer): string {
  try {
    return sealed ? sealer.open({ ...file, kind: 'file', field: 'name' }, sealed).toString() : ''
  } catch (error) {
    if (!(error instanceof SealError)) throw error
    return 'unreadable'
  }
}
