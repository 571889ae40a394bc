import type { Redis } from 'ioredis'
import type { Admitter } from '../capacity.ts'
import { FileQuotaError, UnavailableError } from '../errors.ts'
import { FILE_FIELDS, parseFile, type FileView } from './file-record.ts'
import type { FileStore } from './file-store.ts'
import type { Keys } from '../keys.ts'
import type { Logger } from '../log.ts'
import { redisNowMs } from '../redis.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'

export type { FileView } from './file-record.ts'

// The API ends an upload that takes an hour; what is written by then and not shown is nobody's.
const RESERVED_MS = 2 * 3_600_000
const IN_USE_AGAIN_MS = 60_000
const STORE_AWAY_MS = 30_000
// Of a client that reads a list page by page and deletes what it reads.
const LIST_GOES_ON_MS = 3_600_000
const PAGE = 200
// A purpose that matches nothing must not walk through all that a tenant ever uploaded.
const EXAMINED_MAX = 10_000
const AT_ONCE_MAX = 20

/** A file whose bytes are in the store, before it is shown to anybody. */
export type NewFile = {
  id: string
  tenant: string
  purpose: string
  filename: string
  /** As `/content` gives them. */
  bytes: number
  frameBytes: number
  /** Null: kept until it is deleted. */
  expiresInMs: number | null
  /** Of a batch's input. */
  lines: number | null
  /** The random keys of its lines' credentials, 32 bytes each, packed; null when no line carries some. */
  keys: Buffer | null
  /** Made for one batch, and of use to no other: its credentials are erased with that batch, also when it never began. */
  isForOne?: boolean
}

export type FileFilter = { after?: string; limit: number; order: 'asc' | 'desc'; purpose?: string }

/** `goOnFrom`: the file looked at last when the search was cut off, which the next page starts from; else null. */
export type FilePage = { files: FileView[]; hasMore: boolean; goOnFrom: string | null }

/**
 * The record store of files. A tenant's files are reached by tenant and id.
 *
 * A file is reserved, then its bytes are written, then it is created and can be seen; it is deleted in the reverse
 * order. In between it stands among the files that are due, so that no bytes outlive whoever wrote or removed them.
 */
export function createFiles(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  store: FileStore
  log: Logger
  /** Bytes that all files of one tenant may be. */
  tenantBytesMax: number
  /** Whether Redis has room; left out where nothing is uploaded. */
  capacity?: Admitter
}) {
  const { redis, keys, sealer, store, log, tenantBytesMax, capacity } = deps
  const reserveFile = createScript(redis, 'reserve-file')
  const createFile = createScript(redis, 'create-file')
  const deleteFile = createScript(redis, 'delete-file')
  const forgetFile = createScript(redis, 'forget-file')

  /**
   * Notes that bytes of this file are about to be written; then it must be created or abandoned.
   * @returns the bytes that the tenant has room for.
   * @throws {FileQuotaError} when there is none.
   * @throws {StorageFullError} when Redis has no room for the record.
   */
  async function reserve(tenant: string, id: string): Promise<number> {
    capacity?.check()
    const reply = await reserveFile(
      [keys.file(id), keys.filesDue, keys.filesUse],
      ['', id, tenant, RESERVED_MS, tenantBytesMax],
    )
    const [kind, used] = reply as [Buffer, number] // see the script
    if (kind.toString() === 'full') throw new FileQuotaError(used, tenantBytesMax)
    return tenantBytesMax - used
  }

  /** Shows a file whose bytes are in the store. @throws {FileQuotaError} when others have taken the room. */
  async function create(input: NewFile): Promise<FileView> {
    const { id, tenant, filename, expiresInMs, lines } = input
    const name = sealer.seal({ tenant, kind: 'file', id, field: 'name' }, filename)
    capacity?.note(input.keys?.length ?? 0)
    const reply = await createFile(
      [keys.file(id), keys.fileKeys(id), keys.fileIndex(tenant), keys.filesDue, keys.filesUse],
      [
        '', id, tenant, input.bytes, tenantBytesMax, expiresInMs ?? '', input.keys ?? '',
        'purpose', input.purpose, 'frame', input.frameBytes, 'name', name, ...(lines === null ? [] : ['lines', lines]),
        ...(input.isForOne ? ['for_one', 1] : []),
      ], // oxfmt-ignore
    )
    const [kind, value = 0] = reply as [Buffer, number?] // see the script
    if (kind.toString() === 'full') throw new FileQuotaError(value, tenantBytesMax)
    if (kind.toString() === 'gone')
      throw new UnavailableError('Storing the file took too long. Send it again.')
    const { keys: lineKeys, expiresInMs: _, isForOne: __, ...facts } = input
    return {
      ...facts,
      createdMs: value,
      expiresMs: expiresInMs === null ? null : value + expiresInMs,
      hasCredentials: lineKeys !== null,
      source: { kind: 'upload' },
    }
  }

  async function read(tenant: string, id: string): Promise<FileView | null> {
    const view = parseFile(id, await redis.hmgetBuffer(keys.file(id), ...FILE_FIELDS), sealer)
    return view?.tenant === tenant ? view : null
  }

  /** A page of a tenant's files. @returns null when `after` names none of them. */
  async function list(
    tenant: string,
    { after, limit, order, purpose }: FileFilter,
  ): Promise<FilePage | null> {
    const index = keys.fileIndex(tenant)
    const found: FileView[] = []
    const start = after === undefined ? 0 : await placeAfter(tenant, after, order)
    if (start === null) return null
    let at = start
    let goOnFrom: string | null = null
    for (let examined = 0; found.length <= limit; examined += PAGE) {
      if (examined >= EXAMINED_MAX && purpose !== undefined) return { files: found, hasMore: true, goOnFrom }
      const ids =
        order === 'desc'
          ? await redis.zrevrange(index, at, at + PAGE - 1)
          : await redis.zrange(index, `${at}`, `${at + PAGE - 1}`)
      if (ids.length === 0) break
      const views = await Promise.all(ids.map((id) => read(tenant, id)))
      found.push(
        ...views.flatMap((view) => (view && (purpose ?? view.purpose) === view.purpose ? [view] : [])),
      )
      goOnFrom = ids.at(-1) ?? null
      at += ids.length
    }
    return { files: found.slice(0, limit), hasMore: found.length > limit, goOnFrom: null }
  }

  /** How many files of a list come up to this one, which may be deleted by now; null when it was none of them. */
  async function placeAfter(tenant: string, id: string, order: 'asc' | 'desc'): Promise<number | null> {
    const index = keys.fileIndex(tenant)
    const rank = order === 'desc' ? await redis.zrevrank(index, id) : await redis.zrank(index, id)
    if (rank !== null) return rank + 1
    const created = await redis.get(keys.fileGone(tenant, id))
    if (created === null) return null
    const [count, ties] = await Promise.all([
      order === 'desc'
        ? redis.zcount(index, `(${created}`, '+inf')
        : redis.zcount(index, '-inf', `(${created}`),
      redis.zrangebyscore(index, created, created),
    ])
    return count + ties.filter((tie) => (order === 'desc' ? tie > id : tie < id)).length
  }

  async function take(id: string, tenant: string, why: 'asked' | 'due' | 'given_up') {
    const reply = await deleteFile(
      [
        keys.file(id), keys.fileKeys(id), keys.fileIndex(tenant), keys.filesDue, keys.filesUse, keys.fileGone(tenant, id),
      ], // oxfmt-ignore
      ['', id, tenant, why, IN_USE_AGAIN_MS, LIST_GOES_ON_MS],
    )
    const [kind, batch = '', part = ''] = (reply as Buffer[]).map(String) // see the script
    // Files of a batch's results are told from its logs.
    const place = batch === '' ? `files/${id}/` : `batches/${batch}/${part}/`
    return { kind, place }
  }

  async function erase(id: string, place: string): Promise<void> {
    await store.remove(place)
    await forgetFile([keys.file(id), keys.filesDue], [id])
  }

  /** Erases record, keys and bytes; `in_use` while an unfinished batch reads it. */
  async function remove(tenant: string, id: string): Promise<'removed' | 'gone' | 'in_use'> {
    const { kind, place } = await take(id, tenant, 'asked')
    if (kind === 'in_use') return 'in_use'
    if (kind !== 'going') return 'gone'
    await erase(id, place)
    return 'removed'
  }

  /** Gives up a file that was reserved and not created: removes what was written of it. Never throws. */
  async function abandon(tenant: string, id: string): Promise<void> {
    try {
      const { kind, place } = await take(id, tenant, 'given_up')
      if (kind === 'going') await erase(id, place)
    } catch (error) {
      log.warn({ err: error, file_id: id }, 'What was written of a file is left for the sweeper to remove')
    }
  }

  /**
   * The sweeper's chore: erases what has expired and no unfinished batch uses, and what was never finished. A few at
   * once: a store may take its time, and the sweeper has more to do.
   */
  async function expire(): Promise<void> {
    const nowMs = await redisNowMs(redis)
    const ids = await redis.zrangebyscore(keys.filesDue, '-inf', nowMs, 'LIMIT', 0, AT_ONCE_MAX)
    await Promise.all(ids.map((id) => expireOne(id, nowMs)))
  }

  async function expireOne(id: string, nowMs: number): Promise<void> {
    const tenant = (await redis.hget(keys.file(id), 'tenant')) ?? ''
    const { kind, place } = await take(id, tenant, 'due')
    if (kind !== 'going') return
    try {
      await erase(id, place)
    } catch (error) {
      log.warn({ err: error, file_id: id }, 'The bytes of a file could not be removed; trying again')
      await redis.zadd(keys.filesDue, nowMs + STORE_AWAY_MS, id)
    }
  }

  return {
    /** Bytes that all files of one tenant may be. */
    bytesMax: tenantBytesMax,
    reserve,
    create,
    read,
    list,
    remove,
    abandon,
    expire,
    /** Bytes of all files of a tenant. */
    bytesUsed: async (tenant: string): Promise<number> =>
      Number((await redis.hget(keys.filesUse, tenant)) ?? 0),
  }
}

export type Files = ReturnType<typeof createFiles>
