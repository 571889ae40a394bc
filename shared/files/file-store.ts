import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { ConfigError } from '../errors.ts'
import { openBucketStore } from './file-store-bucket.ts'
import { openFolderStore } from './file-store-folder.ts'

/** Bytes by name (`files/<id>/content`); everything written there is sealed already. */
export type FileStore = StoredBytes & {
  /** Makes sure that the place can be written to. @throws {ConfigError} saying why it can not. */
  check(): Promise<void>
}

/** What a folder and a bucket do each in its own way. */
export type StoredBytes = {
  /** Writes an object whole or not at all; replaces one that is there. @returns bytes. */
  write(name: string, content: AsyncIterable<Uint8Array>): Promise<number>
  /** Bytes [from, to) of an object; to the end without `to`. @throws {FileGoneError} when it is not there. */
  read(name: string, range?: ByteRange): AsyncIterable<Buffer>
  /** Null when it is not there. */
  sizeOf(name: string): Promise<number | null>
  /**
   * Removes an object, or all under a prefix ending in '/': objects, logs, and what writers that died have left there.
   * No error when there is nothing.
   */
  remove(name: string): Promise<void>
  /**
   * A log that this process alone appends to, under a name that was never used before. Group commit: one write
   * (fdatasync, or PUT of a part) is under way at a time; what comes meanwhile goes together with the next.
   */
  openLog(name: string): FileLog
  /** Bytes [from, to) of a log, also while it is written; as far as there are some. A missing log reads as empty. */
  readLog(name: string, range?: ByteRange): AsyncIterable<Buffer>
  close(): Promise<void>
}

/** Bytes from `from` (0 unless given) up to `to`, which is not among them (the end unless given). */
export type ByteRange = { from?: number; to?: number }

export type FileLog = {
  /** Where the next append will lie. */
  position(): number
  /**
   * Resolves, when durable, to the offset at which the bytes lie. Rejects when they may not be; then the log is not used
   * any more (the owner opens another).
   */
  append(bytes: Uint8Array): Promise<number>
  /** Resolves when all that was appended is durable, or has failed. */
  close(): Promise<void>
}

/**
 * Opens what `GATEWAY_FILES` names: `file:/shared/path`, or `s3://bucket/prefix`, whose endpoint, region and keys come
 * from the standard environment of AWS' SDK.
 * @param options `hasEndpoint`: the environment names an S3 endpoint of its own, where buckets are folders of its path.
 * @throws {ConfigError} for anything else.
 */
export function openFileStore(place: string, { hasEndpoint = false } = {}): FileStore {
  const store = openPlace(place, hasEndpoint)
  return { ...store, check: () => check(store, place) }
}

function openPlace(place: string, hasEndpoint: boolean): StoredBytes {
  const folder = /^file:(?:\/\/)?(\/.+)$/.exec(place)?.[1]
  if (folder !== undefined) return openFolderStore(folder)
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(place) ?? []
  if (bucket !== undefined) return openBucketStore({ bucket, prefix, hasEndpoint })
  throw new ConfigError('GATEWAY_FILES must be file:/an/absolute/path or s3://bucket/prefix.')
}

async function check(store: StoredBytes, place: string): Promise<void> {
  const name = `check/${randomBytes(6).toString('hex')}`
  try {
    await store.write(name, Readable.from([Buffer.from('ok')]))
    await store.remove(name)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new ConfigError(`GATEWAY_FILES=${place} can not be written to: ${why}`)
  }
}
