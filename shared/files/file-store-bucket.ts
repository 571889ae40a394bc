import { randomBytes } from 'node:crypto'
import type { S3 } from '@aws-sdk/client-s3'
import { FileGoneError } from '../errors.ts'
import { createGroupCommit } from './file-log.ts'
import type { ByteRange, StoredBytes } from './file-store.ts'
import { createLogParts } from './log-parts.ts'

/** The least that S3 takes as a part that others follow. */
const PART_BYTES = 5 * 1024 * 1024
/** Read in pieces of their own, so that a slow reader holds no connection and a broken one costs little. */
const READ_BYTES = 4 * 1024 * 1024
const CONNECT_MS = 5_000
/** Nothing is waited for any longer: who waits holds a slot of its worker, or the sweeper. */
const REQUEST_MS = 60_000
const SOCKETS_MAX = 200
/** Notes which upload in parts is under way for an object: a server need not be able to list them. */
const UPLOAD_NOTE = /\.upload-[0-9a-f]{12}$/

/**
 * A file store in an S3-compatible bucket. Endpoint, region and keys are those of the SDK's standard environment; it is
 * loaded when it is first used.
 *
 * Objects over 5 MB are uploaded in parts. The id of such an upload stands in a note beside the object until it is done,
 * so that removing the folder ends what a writer that died has begun. S3 cannot append: a log is objects
 * `<name>/<offset as 12 hex digits>`, one for each commit.
 */
export function openBucketStore(place: {
  bucket: string
  prefix: string
  hasEndpoint: boolean
  requestMs?: number
}): StoredBytes {
  const Bucket = place.bucket
  const prefix = place.prefix === '' || place.prefix.endsWith('/') ? place.prefix : `${place.prefix}/`
  const keyOf = (name: string): string => prefix + name
  let connected: Promise<S3> | null = null
  const connect = (): Promise<S3> => (connected ??= openClient(place))
  const parts = createLogParts(list)

  async function put(name: string, Body: Buffer): Promise<void> {
    await (await connect()).putObject({ Bucket, Key: keyOf(name), Body })
  }

  async function write(name: string, content: AsyncIterable<Uint8Array>): Promise<number> {
    const pieces = inPieces(content, PART_BYTES)[Symbol.asyncIterator]()
    try {
      const first = await pieces.next()
      const head = first.done ? Buffer.alloc(0) : first.value
      if (head.length === PART_BYTES) return await writeParts(name, head, pieces)
      await put(name, head)
      return head.length
    } finally {
      await pieces.return?.()
    }
  }

  async function writeParts(name: string, head: Buffer, rest: AsyncIterator<Buffer>): Promise<number> {
    const s3 = await connect()
    const note = `${name}.upload-${randomBytes(6).toString('hex')}`
    const object = { Bucket, Key: keyOf(name) }
    const { UploadId } = await s3.createMultipartUpload(object)
    const upload = { ...object, UploadId }
    try {
      await put(note, Buffer.from(UploadId ?? ''))
      const Parts: { ETag: string | undefined; PartNumber: number }[] = []
      let bytes = 0
      for (let Body: Buffer | null = head; Body; Body = (await rest.next()).value ?? null) {
        const PartNumber = Parts.length + 1
        const { ETag } = await s3.uploadPart({ ...upload, PartNumber, Body })
        Parts.push({ ETag, PartNumber })
        bytes += Body.length
      }
      await s3.completeMultipartUpload({ ...upload, MultipartUpload: { Parts } })
      return bytes
    } catch (error) {
      await s3.abortMultipartUpload(upload).catch(() => undefined)
      throw error
    } finally {
      await s3.deleteObject({ Bucket, Key: keyOf(note) }).catch(() => undefined)
    }
  }

  async function* read(name: string, { from = 0, to = Infinity }: ByteRange = {}): AsyncIterable<Buffer> {
    for (let at = from; at < to;) {
      const bytes = await readPiece(name, at, Math.min(at + READ_BYTES, to))
      if (bytes.length === 0) return
      yield bytes
      at += bytes.length
    }
  }

  /** Empty where there are no bytes any more. */
  async function readPiece(name: string, from: number, to: number): Promise<Buffer> {
    const s3 = await connect()
    try {
      const { Body } = await s3.getObject({ Bucket, Key: keyOf(name), Range: `bytes=${from}-${to - 1}` })
      return Buffer.from((await Body?.transformToByteArray()) ?? [])
    } catch (error) {
      if (statusOf(error) === 404) throw new FileGoneError()
      if (statusOf(error) === 416) return Buffer.alloc(0)
      throw error
    }
  }

  async function sizeOf(name: string): Promise<number | null> {
    const s3 = await connect()
    try {
      return (await s3.headObject({ Bucket, Key: keyOf(name) })).ContentLength ?? 0
    } catch (error) {
      if (statusOf(error) === 404) return null
      throw error
    }
  }

  /** Objects under a prefix, in the order of their names, from the one after `after` on. */
  async function* list(under: string, after = ''): AsyncIterable<{ name: string; bytes: number }[]> {
    const s3 = await connect()
    const query = { Bucket, Prefix: keyOf(under), ...(after === '' ? {} : { StartAfter: keyOf(after) }) }
    let ContinuationToken: string | undefined
    do {
      const page = await s3.listObjectsV2({ ...query, ContinuationToken })
      yield (page.Contents ?? []).map(({ Key = '', Size = 0 }) => ({
        name: Key.slice(prefix.length),
        bytes: Size,
      }))
      ContinuationToken = page.NextContinuationToken
    } while (ContinuationToken !== undefined)
  }

  // Numbers of logs come from a Redis that may have lost its last seconds: what is there is somebody else's.
  async function makeSureIsFree(under: string): Promise<void> {
    for await (const page of list(under))
      if (page.length > 0) throw new Error('The log was written by others.')
  }

  async function remove(name: string): Promise<void> {
    const s3 = await connect()
    if (!name.endsWith('/')) {
      await s3.deleteObject({ Bucket, Key: keyOf(name) })
      return
    }
    for await (const page of list(name)) {
      for (const { name: note } of page) if (UPLOAD_NOTE.test(note)) await abortNoted(note)
      const Objects = page.map((object) => ({ Key: keyOf(object.name) }))
      if (Objects.length === 0) continue
      const { Errors } = await s3.deleteObjects({ Bucket, Delete: { Objects, Quiet: true } })
      if (Errors?.length) throw new Error(`The bucket kept some objects: ${Errors[0]?.Code}`)
    }
    parts.forget(name)
  }

  async function abortNoted(note: string): Promise<void> {
    const UploadId = (await readPiece(note, 0, READ_BYTES)).toString()
    const Key = keyOf(note.replace(UPLOAD_NOTE, ''))
    try {
      await (await connect()).abortMultipartUpload({ Bucket, Key, UploadId })
    } catch (error) {
      // It was completed, or aborted before.
      if (statusOf(error) !== 404) throw error
    }
  }

  return {
    write,
    read,
    sizeOf,
    remove,

    openLog(name) {
      let isOurs = false
      const commit = async (bytes: readonly Uint8Array[], offset: number) => {
        if (!isOurs) await makeSureIsFree(`${name}/`)
        isOurs = true
        await put(parts.nameAt(name, offset), Buffer.concat(bytes))
      }
      return createGroupCommit(commit, { commitBytesMax: PART_BYTES })
    },

    async *readLog(name, { from = 0, to = Infinity } = {}) {
      for await (const part of parts.between(name, from, to)) {
        yield* read(part.name, { from: Math.max(0, from - part.start), to: to - part.start })
      }
    },

    async close() {
      if (connected) (await connected).destroy()
    },
  }
}

async function openClient({
  hasEndpoint,
  requestMs = REQUEST_MS,
}: {
  hasEndpoint: boolean
  requestMs?: number
}): Promise<S3> {
  const { S3: Client } = await import('@aws-sdk/client-s3')
  return new Client({
    forcePathStyle: hasEndpoint,
    // Many servers that speak S3 do not know its newer checksums; what is stored here is sealed and checks itself.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      // By itself that only warns. Once an answer has begun, it is broken off when nothing more of it comes.
      requestTimeout: requestMs,
      throwOnRequestTimeout: true,
      socketTimeout: requestMs,
      httpAgent: { maxSockets: SOCKETS_MAX },
      httpsAgent: { maxSockets: SOCKETS_MAX },
    },
  })
}

function statusOf(error: unknown): number | null {
  // Of the SDK's errors.
  const { $metadata } = error as { $metadata?: { httpStatusCode?: number } }
  return $metadata?.httpStatusCode ?? null
}

/** The same bytes in pieces of one size; the last is smaller, and there is none when there are no bytes. */
async function* inPieces(content: AsyncIterable<Uint8Array>, size: number): AsyncIterable<Buffer> {
  let held: Uint8Array[] = []
  let length = 0
  for await (const chunk of content) {
    held.push(chunk)
    length += chunk.length
    if (length < size) continue
    const whole = Buffer.concat(held)
    let at = 0
    for (; length - at >= size; at += size) yield whole.subarray(at, at + size)
    held = [whole.subarray(at)]
    length -= at
  }
  if (length > 0) yield Buffer.concat(held)
}
