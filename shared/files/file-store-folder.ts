import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { FileGoneError } from '../errors.ts'
import { createGroupCommit } from './file-log.ts'
import type { ByteRange, FileLog, StoredBytes } from './file-store.ts'

const READ_BYTES = 256 * 1024
const COMMIT_BYTES_MAX = 16 * 1024 * 1024

/** A file store in a folder of this machine, or in one that is mounted on all of them. */
export function openFolderStore(folder: string): StoredBytes {
  const root = resolve(folder)
  const pathOf = (name: string): string => join(root, name)

  return {
    async write(name, content) {
      const path = pathOf(name)
      await mkdir(dirname(path), { recursive: true })
      // Beside its place, so that removing that folder removes what a writer that died has left.
      const unfinished = `${path}.${randomBytes(6).toString('hex')}.tmp`
      try {
        const bytes = await writeDurably(unfinished, content)
        await rename(unfinished, path)
        await syncFolders(root, path)
        return bytes
      } catch (error) {
        await rm(unfinished, { force: true })
        throw error
      }
    },

    async *read(name, range) {
      const handle = await openIfThere(pathOf(name))
      if (!handle) throw new FileGoneError()
      yield* readAll(handle, range)
    },

    async sizeOf(name) {
      return stat(pathOf(name)).then(({ size }) => size, ifMissing(null))
    },

    async remove(name) {
      await rm(pathOf(name), { recursive: name.endsWith('/'), force: true })
    },

    openLog: (name) => openLog(root, pathOf(name)),

    async *readLog(name, range) {
      const handle = await openIfThere(pathOf(name))
      if (handle) yield* readAll(handle, range)
    },

    async close() {},
  }
}

async function writeDurably(path: string, content: AsyncIterable<Uint8Array>): Promise<number> {
  const handle = await open(path, 'wx')
  try {
    await handle.writeFile(content)
    await handle.datasync()
    return (await handle.stat()).size
  } finally {
    await handle.close()
  }
}

// A new name is durable when its folder is, and that when it is in the one above: another process may have made it just now.
async function syncFolders(root: string, path: string): Promise<void> {
  for (let at = dirname(path); at.length >= root.length; at = dirname(at)) {
    await syncFolder(at)
    if (at === dirname(at)) return
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function openLog(root: string, path: string): FileLog {
  let handle: FileHandle | null = null

  async function commit(bytes: readonly Uint8Array[]): Promise<void> {
    const isNew = handle === null
    handle ??= await create(path)
    await handle.appendFile(Buffer.concat(bytes))
    await handle.datasync()
    if (isNew) await syncFolders(root, path)
  }

  return createGroupCommit(commit, {
    commitBytesMax: COMMIT_BYTES_MAX,
    release: async () => handle?.close(),
  })
}

// Never into a file that is there: its bytes are somebody else's.
async function create(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true })
  return open(path, 'ax')
}

async function* readAll(
  handle: FileHandle,
  { from = 0, to = Infinity }: ByteRange = {},
): AsyncIterable<Buffer> {
  try {
    for (let at = from; at < to;) {
      const size = Math.min(READ_BYTES, to - at)
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(size), 0, size, at)
      if (bytesRead === 0) return
      yield buffer.subarray(0, bytesRead)
      at += bytesRead
    }
  } finally {
    await handle.close()
  }
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  return open(path, 'r').catch(ifMissing(null))
}

function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return value
    throw error
  }
}
