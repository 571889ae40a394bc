import type { FastifyRequest } from 'fastify'
import { writeBatchInput, type BatchInputLimits, type WrittenInput } from '../shared/batches/batch-input.ts'
import {
  FileQuotaError,
  GatewayError,
  InvalidRequestError,
  TooLargeError,
  UnsupportedMediaTypeError,
} from '../shared/errors.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { Files, FileView } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import { contentName, readSealedFile, sealedFrameBytes, sealFrames } from '../shared/files/sealed-file.ts'
import type { Sealer } from '../shared/seal.ts'
import { durabilityOf, type Durable, type DurabilityCheck } from './durable.ts'
import { keptAtMostMs } from './retention.ts'
import { createUploadFields } from './upload-fields.ts'

/** What may stand around the file in a body. */
const FORM_BYTES_MAX = 64 * 1024
const FORM_LIMITS = {
  fields: 20,
  fieldNameSize: 100,
  fieldSize: 4_096,
  files: 2,
  fileSize: Infinity,
  parts: 30,
}
const FILENAME_MAX = 255

/**
 * Uploads of one tenant under way at once in a process. Each holds memory, and room in the store that is counted only at its
 * end.
 */
const AT_ONCE_MAX = 32

export type UploadDeps = {
  files: Files
  store: FileStore
  sealer: Sealer
  ids: Ids
  /** Of any file; the input of a batch has limits of its own. */
  fileBytesMax: number
  inputLimits: BatchInputLimits
  requireDurability: DurabilityCheck
  /** Waits until the record of a file is on the disk of Redis. */
  untilDurable: Durable['file']
}

type Stored = Omit<WrittenInput, 'lines'> & { lines: number | null }

/** One upload on its way. `room`: what its tenant's files may still grow by. */
type Upload = { tenant: string; id: string; room: number }

/** Uploads that are under way in this process, by tenant. */
export function createUploadTurns() {
  const underWay = new Map<string, number>()

  function leave(tenant: string): void {
    const left = (underWay.get(tenant) ?? 1) - 1
    if (left > 0) underWay.set(tenant, left)
    else underWay.delete(tenant)
  }

  return {
    /** @returns what is to be called at its end. @throws {GatewayError} a 429 when the tenant has as many as it may. */
    enter(tenant: string): () => void {
      const count = underWay.get(tenant) ?? 0
      if (count >= AT_ONCE_MAX) throw tooManyUploads()
      underWay.set(tenant, count + 1)
      return () => leave(tenant)
    },
  }
}

type UploadTurns = ReturnType<typeof createUploadTurns>

/**
 * Stores the file of a multipart body while it comes, sealed, with its fields in any order: OpenAI's SDK for Node sends
 * the file first. What turns out to be the input of a batch is split from its credentials in a second pass then.
 * @throws {GatewayError} when it is refused or breaks off; nothing of it is left then.
 */
export async function receiveFile(
  request: FastifyRequest,
  deps: UploadDeps & { turns: UploadTurns },
): Promise<FileView> {
  const { files, fileBytesMax } = deps
  const { tenant, raw } = request
  if (!request.isMultipart()) {
    throw new UnsupportedMediaTypeError('Send the file as multipart/form-data, with a field `purpose`.')
  }
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > fileBytesMax + FORM_BYTES_MAX) throw tooLarge(fileBytesMax)
  const { durability } = await durabilityOf(request, null, 'durability', deps)
  const leave = deps.turns.enter(tenant)
  try {
    const id = deps.ids.newFileId(tenant)
    const upload = { tenant, id, room: await files.reserve(tenant, id) }
    const file = await store(request, upload, deps)
    if (durability) await deps.untilDurable(tenant, id)
    return file
  } finally {
    leave()
    // The client may read no answer before it has sent all: what is left of a refused body goes nowhere.
    raw.unpipe()
    raw.resume()
  }
}

async function store(request: FastifyRequest, upload: Upload, deps: UploadDeps): Promise<FileView> {
  const { tenant, id } = upload
  try {
    const received = await readForm(request, upload, deps)
    const expiresInMs = keptAtMostMs(received.expiresInMs, request.principal.record?.retention.files_seconds)
    return await deps.files.create({ id, tenant, ...received, expiresInMs })
  } catch (error) {
    await deps.files.abandon(tenant, id)
    throw error
  }
}

async function readForm(request: FastifyRequest, upload: Upload, deps: UploadDeps) {
  const fields = createUploadFields()
  let stored: (Stored & { filename: string; isSplit: boolean }) | null = null
  for await (const part of partsOf(request)) {
    if (part.type === 'field') {
      fields.note(part)
      continue
    }
    // The parser gives what is there: a part may have neither name.
    const { fieldname, filename }: { fieldname?: string; filename?: string } = part
    if (fieldname !== 'file' || stored) {
      const param = fieldname?.slice(0, FORM_LIMITS.fieldNameSize) ?? null
      throw new InvalidRequestError('Send one file, in the field `file`.', param, 'invalid_file')
    }
    if (filename === undefined) {
      throw new InvalidRequestError('Send `file` as a file, with a filename.', 'file', 'invalid_file')
    }
    const purpose = fields.purpose()
    const content = limited(part.file, upload, purpose, deps)
    const written = await storeContent(content, upload, purpose, deps)
    stored = { ...written, filename: filename.slice(0, FILENAME_MAX), isSplit: purpose === 'batch' }
  }
  if (!stored) {
    throw new InvalidRequestError(
      'Send the file itself in the field `file`.',
      'file',
      'missing_required_parameter',
    )
  }
  const { isSplit, filename, ...written } = stored
  const { purpose, expiresInMs } = fields.end()
  const facts = { filename, purpose, expiresInMs }
  if (purpose !== 'batch' || isSplit) return { ...facts, ...written }
  return { ...facts, ...(await splitStored(written, upload, deps)) }
}

async function* partsOf(request: FastifyRequest) {
  try {
    yield* request.parts({ limits: FORM_LIMITS })
  } catch (error) {
    throw malformed(error)
  }
}

async function storeContent(
  content: AsyncIterable<Uint8Array>,
  { tenant, id }: Upload,
  purpose: string | null,
  deps: UploadDeps,
): Promise<Stored> {
  if (purpose === 'batch') return writeBatchInput(deps, { tenant, id }, content, deps.inputLimits)
  const sealed = deps.sealer.record({ tenant, kind: 'file', id })
  let bytes = 0
  await deps.store.write(
    contentName(id),
    sealFrames(sealed, content, (count) => (bytes += count)),
  )
  return { bytes, frameBytes: sealedFrameBytes(sealed), lines: null, keys: null }
}

/** Its purpose came after it: the lines are told from their credentials now, and take the place of what was stored. */
async function splitStored(stored: Stored, upload: Upload, deps: UploadDeps): Promise<WrittenInput> {
  const { bytesMax } = deps.inputLimits
  if (stored.bytes > bytesMax) throw tooLarge(bytesMax)
  const content = readSealedFile(deps.store, { ...upload, ...stored }, deps.sealer)
  return writeBatchInput(deps, upload, content, deps.inputLimits)
}

/** The bytes of a file as they come, as long as they may. */
async function* limited(
  content: AsyncIterable<Uint8Array>,
  { room }: Upload,
  purpose: string | null,
  { files, fileBytesMax, inputLimits }: UploadDeps,
): AsyncIterable<Uint8Array> {
  const bytesMax = purpose === 'batch' ? inputLimits.bytesMax : fileBytesMax
  let bytes = 0
  try {
    for await (const chunk of content) {
      bytes += chunk.length
      if (bytes > bytesMax) throw tooLarge(bytesMax)
      if (bytes > room) throw new FileQuotaError(files.bytesMax - room, files.bytesMax)
      yield chunk
    }
  } catch (error) {
    throw malformed(error)
  }
}

function tooManyUploads(): GatewayError {
  const message = `${AT_ONCE_MAX} of your uploads are under way, as many as may be at once. Try again when one has ended.`
  return new GatewayError(429, 'rate_limit_error', 'too_many_uploads', message, {
    retryAfterSeconds: 2,
    shouldRetry: true,
  })
}

function tooLarge(bytesMax: number): TooLargeError {
  return new TooLargeError(`The file is larger than ${bytesMax} bytes.`)
}

// Of the parser, or of the connection that broke off.
function malformed(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const refused = new InvalidRequestError(
    'The body is not valid multipart/form-data.',
    null,
    'invalid_multipart',
  )
  refused.cause = error
  return refused
}
