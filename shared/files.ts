import type { Redis } from 'ioredis'
import type { FileStore } from './file-store.ts'
import type { Keys } from './keys.ts'
import type { Logger } from './log.ts'
import type { Sealer } from './seal.ts'

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
}

/** A file as the API uses it. */
export type FileView = {
  id: string
  tenant: string
  bytes: number
  frameBytes: number
  filename: string
  purpose: string
  createdMs: number
  expiresMs: number | null
  lines: number | null
  hasCredentials: boolean
  source: { kind: 'upload' } | { kind: 'batch'; batchId: string; part: 'output' | 'error' }
}

export type FileFilter = { after?: string; limit: number; order: 'asc' | 'desc'; purpose?: string }

/** The record store of files. A tenant's files are reached by tenant and id. */
export function createFiles(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  store: FileStore
  log: Logger
  /** Bytes of all files of one tenant. */
  tenantBytesMax: number
}) {
  const unready = async (...given: unknown[]): Promise<never> => {
    throw new Error(`in the works: ${given.length} ${deps.tenantBytesMax}`)
  }
  return {
    /**
     * Notes that bytes of this file are about to be written, so that they are removed when it never is created.
     * @throws {FileQuotaError} when the tenant has no room left.
     */
    reserve: (tenant: string, id: string): Promise<void> => unready(tenant, id),
    /** Shows a file whose bytes are in the store. @throws {FileQuotaError} when there was no room; its bytes are gone. */
    create: (input: NewFile): Promise<FileView> => unready(input),
    /** Gives up a file that was reserved and not created: removes what was written of it. */
    abandon: (tenant: string, id: string): Promise<void> => unready(tenant, id),
    read: (tenant: string, id: string): Promise<FileView | null> => unready(tenant, id),
    /** Null when `after` names no file of the tenant. */
    list: (tenant: string, filter: FileFilter): Promise<{ files: FileView[]; hasMore: boolean } | null> =>
      unready(tenant, filter),
    /** Erases record, keys and bytes; `in_use` while an unfinished batch reads it. */
    remove: (tenant: string, id: string): Promise<'removed' | 'gone' | 'in_use'> => unready(tenant, id),
    bytesUsed: (tenant: string): Promise<number> => unready(tenant),
    /** The sweeper's chore: erases what has expired and no unfinished batch uses, and uploads that broke off. */
    expire: (): Promise<void> => unready(),
  }
}

export type Files = ReturnType<typeof createFiles>
