import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FileQuotaError, UnavailableError } from '../../shared/errors.ts'
import { openFileStore, type FileStore } from '../../shared/files/file-store.ts'
import { createFiles, type NewFile } from '../../shared/files/files.ts'
import { createLog } from '../../shared/log.ts'
import { contentName } from '../../shared/files/sealed-file.ts'
import { testStore, type TestStore } from '../support/store.ts'

const TENANT = 'acme'
let store: TestStore
let folder: string
let bytes: FileStore
let files: ReturnType<typeof createFiles>
beforeEach(() => {
  store = testStore()
  folder = mkdtempSync(join(tmpdir(), 'byok-test-files-'))
  bytes = openFileStore(`file:${folder}`)
  files = makeFiles(bytes)
})
afterEach(async () => {
  await store.cleanup()
  rmSync(folder, { recursive: true, force: true })
})

/** The records over a store; one process' of many. */
function makeFiles(over: FileStore) {
  const log = createLog('silent', 'test')
  return createFiles({ ...store, store: over, log, tenantBytesMax: 1_000 })
}

const draft = (change: Partial<NewFile> = {}): NewFile => ({
  id: store.ids.newFileId(TENANT),
  tenant: TENANT,
  purpose: 'batch',
  filename: 'in.jsonl',
  bytes: 100,
  frameBytes: 65_600,
  expiresInMs: null,
  lines: 2,
  keys: null,
  ...change,
})

/** What an upload does up to its record: reserve, then write. */
async function write(change: Partial<NewFile> = {}): Promise<NewFile> {
  const input = draft(change)
  await files.reserve(TENANT, input.id)
  await bytes.write(contentName(input.id), Readable.from([Buffer.from('content')]))
  return input
}

async function create(change: Partial<NewFile> = {}) {
  return files.create(await write(change))
}

const stored = (): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((one) =>
    one.isFile() ? [join(one.parentPath, one.name)] : [],
  )

/** Time passes for what stands among the files that are due. */
async function makeDue(id: string): Promise<void> {
  await store.redis.zadd(store.keys.filesDue, 'XX', 1, id)
  if (await store.redis.hexists(store.keys.file(id), 'expires')) {
    await store.redis.hset(store.keys.file(id), 'expires', 1)
  }
}

/** All that Redis holds of files, but for the places of deleted ones in lists. */
async function remains(): Promise<string[]> {
  const all = await store.redis.keys(`${store.prefix}:*file*`)
  return all.filter((key) => !key.startsWith(store.keys.fileGone(TENANT, '')))
}

test('a file is read as it was created, and what create gives is what is read', async () => {
  const keys = Buffer.alloc(64, 7)
  const created = await create({ keys, expiresInMs: 60_000 })
  expect(await files.read(TENANT, created.id)).toEqual(created)
  expect(created).toMatchObject({ lines: 2, hasCredentials: true, source: { kind: 'upload' } })
  expect(created.expiresMs).toBe(created.createdMs + 60_000)
  expect(await store.redis.getBuffer(store.keys.fileKeys(created.id))).toEqual(keys)
  const plain = await create({ purpose: 'vision', lines: null })
  expect(await files.read(TENANT, plain.id)).toEqual(plain)
  expect(plain).toMatchObject({ lines: null, hasCredentials: false, expiresMs: null })
})

test('a file that is created twice, also at once, is one and counts once', async () => {
  const input = await write()
  const both = await Promise.all([files.create(input), files.create(input)])
  expect(both[0]).toEqual(both[1])
  expect(await files.create(input)).toEqual(both[0])
  expect(await files.bytesUsed(TENANT)).toBe(100)
})

test('nobody sees a file before it is created', async () => {
  const { id } = await write()
  expect(await files.read(TENANT, id)).toBeNull()
  expect(await files.list(TENANT, { limit: 10, order: 'desc' })).toMatchObject({ files: [] })
  expect(await files.remove(TENANT, id)).toBe('gone')
  expect(stored()).toHaveLength(1)
})

test('a file is shown only as far as there is room, whoever is first', async () => {
  const inputs = await Promise.all([1, 2, 3].map(() => write({ bytes: 600 })))
  const results = await Promise.allSettled(inputs.map((input) => files.create(input)))
  expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected', 'rejected'])
  expect(await files.bytesUsed(TENANT)).toBe(600)
  expect(await files.reserve(TENANT, draft().id)).toBe(400)
  await create({ bytes: 400 })
  await expect(files.reserve(TENANT, draft().id)).rejects.toThrow(FileQuotaError)
  expect(await files.reserve('other', draft().id)).toBe(1_000)
})

test('what was given up leaves nothing, and can be given up again', async () => {
  const input = await write()
  await Promise.all([files.abandon(TENANT, input.id), files.abandon(TENANT, input.id)])
  expect(stored()).toEqual([])
  expect(await remains()).toEqual([])
  await expect(files.create(input)).rejects.toThrow(UnavailableError)
})

test('giving up does not touch a file that was created after all', async () => {
  const { id } = await create()
  await files.abandon(TENANT, id)
  expect(await files.read(TENANT, id)).not.toBeNull()
  expect(stored()).toHaveLength(1)
})

test('what an API that died had written is removed when its time is over, and not before', async () => {
  const input = await write()
  await files.expire()
  expect(stored()).toHaveLength(1)
  await makeDue(input.id)
  await files.expire()
  expect(stored()).toEqual([])
  expect(await remains()).toEqual([])
  await expect(files.create(input)).rejects.toThrow(UnavailableError)
})

test('a file goes when it has expired, with its keys, and frees its room', async () => {
  const { id } = await create({ expiresInMs: 3_600_000, keys: Buffer.alloc(64, 7) })
  const kept = await create()
  await files.expire()
  expect(await files.read(TENANT, id)).not.toBeNull()
  await makeDue(id)
  await Promise.all([files.expire(), files.expire()])
  expect(await files.read(TENANT, id)).toBeNull()
  expect(await files.read(TENANT, kept.id)).not.toBeNull()
  expect(stored()).toHaveLength(1)
  expect(await files.bytesUsed(TENANT)).toBe(100)
  expect(await store.redis.exists(store.keys.file(id), store.keys.fileKeys(id))).toBe(0)
  expect(await files.list(TENANT, { limit: 10, order: 'desc' })).toMatchObject({ files: [{ id: kept.id }] })
})

test('a file that an unfinished batch reads outlives its time until the batch has ended', async () => {
  const { id } = await create({ expiresInMs: 3_600_000 })
  await store.redis.hset(store.keys.file(id), 'uses', 1)
  await makeDue(id)
  await files.expire()
  expect(await files.remove(TENANT, id)).toBe('in_use')
  expect(await files.read(TENANT, id)).not.toBeNull()
  expect(Number(await store.redis.zscore(store.keys.filesDue, id))).toBeGreaterThan(Date.now() + 30_000)
  await store.redis.hset(store.keys.file(id), 'uses', 0)
  await makeDue(id)
  await files.expire()
  expect(await files.read(TENANT, id)).toBeNull()
  expect(stored()).toEqual([])
})

test('a deletion that stops half-way is finished by the sweeper', async () => {
  const { id } = await create()
  const away = { ...bytes, remove: () => Promise.reject(new Error('the store is away')) }
  await expect(makeFiles(away).remove(TENANT, id)).rejects.toThrow('away')
  expect(await files.read(TENANT, id)).toBeNull()
  expect(await files.bytesUsed(TENANT)).toBe(0)
  expect(await files.remove(TENANT, id)).toBe('gone')
  await makeFiles(away).expire()
  expect(stored()).toHaveLength(1)
  await makeDue(id)
  await files.expire()
  expect(stored()).toEqual([])
  expect(await remains()).toEqual([])
})

test('a file without a byte in it can be deleted', async () => {
  const { id } = await create({ bytes: 0, lines: null })
  expect(await files.remove(TENANT, id)).toBe('removed')
})

test('of two that delete a file at once one is told that it did', async () => {
  const { id } = await create()
  const told = await Promise.all([files.remove(TENANT, id), files.remove(TENANT, id)])
  expect(told.toSorted()).toEqual(['gone', 'removed'])
  expect(await remains()).toEqual([])
})

test('a part of a batch’s results goes with its file, and no other', async () => {
  const id = store.ids.outputFileId('batch_1', 'output')
  const { redis, keys } = store
  const name = store.sealer.seal({ tenant: TENANT, kind: 'file', id, field: 'name' }, 'out.jsonl')
  await redis.hset(keys.file(id), {
    tenant: TENANT, purpose: 'batch_output', created: 5, expires: 6, bytes: 100, frame: 0, uses: 0, source: 'batch',
    batch: 'batch_1', part: 'output', name,
  }) // oxfmt-ignore
  await redis.zadd(keys.fileIndex(TENANT), 5, id)
  await redis.zadd(keys.filesDue, 6, id)
  for (const log of ['batches/batch_1/output/log-0', 'batches/batch_1/error/log-0']) {
    await bytes.write(log, Readable.from([Buffer.from('x')]))
  }
  expect(await files.read(TENANT, id)).toMatchObject({
    filename: 'out.jsonl',
    source: { kind: 'batch', batchId: 'batch_1', part: 'output' },
  })
  await files.expire()
  expect(stored()).toEqual([join(folder, 'batches/batch_1/error/log-0')])
})

test.for(['asc', 'desc'] as const)(
  'a list (%s) goes on where it was, whatever was deleted meanwhile',
  async (order) => {
    const ids: string[] = []
    for (let number = 0; number < 9; number += 1) ids.push((await create({ bytes: 1 })).id)
    // Of one moment: their ids alone tell their order.
    for (const id of ids.slice(3, 6)) await store.redis.zadd(store.keys.fileIndex(TENANT), 5_000, id)
    const page = (after?: string, limit = 2) => files.list(TENANT, { after, limit, order })
    const all = (await page(undefined, 100))?.files.map(({ id }) => id) ?? []
    const seen: string[] = []
    for (let after: string | undefined; ; after = seen.at(-1)) {
      const found = (await page(after))?.files.map(({ id }) => id) ?? []
      for (const id of found) await files.remove(TENANT, id)
      if (found.length === 0) break
      seen.push(...found)
    }
    expect(seen).toEqual(all)
    expect(await files.list('other', { after: ids[0], limit: 2, order })).toBeNull()
  },
)

test('a name that does not open hides no other file of a list', async () => {
  const { id } = await create()
  await create()
  await store.redis.hset(store.keys.file(id), 'name', 'damaged')
  const page = await files.list(TENANT, { limit: 10, order: 'asc' })
  expect(page?.files.map(({ filename }) => filename)).toEqual(['unreadable', 'in.jsonl'])
})
