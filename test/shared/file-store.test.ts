import { mkdtemp, open, readdir, readlink, rm, writeFile, type FileHandle } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { FileGoneError } from '../../shared/errors.ts'
import { openBucketStore } from '../../shared/files/file-store-bucket.ts'
import { openFileStore, type FileStore } from '../../shared/files/file-store.ts'
import { startBucket, type TestBucket } from '../support/bucket.ts'
import { collect } from '../support/bytes.ts'

const MB = 1024 * 1024
let folder: string
let bucket: TestBucket
let store: FileStore

beforeAll(async () => {
  bucket = await startBucket()
  // The SDK reads its place and keys from the environment.
  for (const [name, value] of Object.entries(bucket.env)) vi.stubEnv(name, value)
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await bucket.close()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-store-'))
})
afterEach(async () => {
  await store.close()
  await rm(folder, { recursive: true, force: true })
})

const openers = {
  folder: () => openFileStore(`file:${folder}`),
  bucket: () => openFileStore(bucket.place, { hasEndpoint: true }),
}

/** Bytes that differ at every place. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(at ^ 0x5bd1e995, at)
  return bytes
}

async function* chunksOf(bytes: Buffer, size: number): AsyncIterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function* breakingOff(bytes: Buffer): AsyncIterable<Buffer> {
  yield* chunksOf(bytes, MB)
  throw new Error('the client left')
}

/** Names of all that the store holds, whoever wrote it. */
async function stored(kind: keyof typeof openers): Promise<string[]> {
  if (kind === 'bucket')
    return [...(await bucket.objects()).keys()].map((key) => key.slice('some/prefix/'.length))
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name).slice(folder.length + 1))
}

describe.each(['folder', 'bucket'] as const)('a store in a %s', (kind) => {
  beforeEach(() => {
    store = openers[kind]()
  })
  afterEach(async () => {
    for (const name of ['files', 'batches', 'check']) await store.remove(`${name}/`)
    expect(await stored(kind)).toEqual([])
  })

  test.for([0, 1, 300_000, 5 * MB, 11 * MB + 7])(
    'gives back the %i bytes that were written',
    async (length) => {
      const bytes = pattern(length)
      expect(await store.write('files/a/content', chunksOf(bytes, 65_581))).toBe(length)
      expect(await store.sizeOf('files/a/content')).toBe(length)
      expect((await collect(store.read('files/a/content'))).equals(bytes)).toBe(true)
      expect(await stored(kind)).toEqual(['files/a/content'])
    },
  )

  test('reads any part of an object, and stops at its end', async () => {
    const bytes = pattern(9 * MB)
    await store.write('files/a/content', chunksOf(bytes, MB))
    for (const [from, to] of [
      [0, 1],
      [5, 5],
      [MB - 3, 5 * MB + 3],
      [9 * MB - 2, 10 * MB],
      [9 * MB, 10 * MB],
      [20 * MB, 21 * MB],
    ] as const) {
      const part = await collect(store.read('files/a/content', { from, to }))
      expect(part.equals(bytes.subarray(from, to)), `${from} to ${to}`).toBe(true)
    }
    expect((await collect(store.read('files/a/content', { from: 9 * MB - 5 }))).length).toBe(5)
  })

  test('an object is replaced whole, also while it is read', async () => {
    await store.write('files/a/content', chunksOf(pattern(6 * MB), MB))
    await store.write('files/a/content', store.read('files/a/content', { from: 4 }))
    expect((await collect(store.read('files/a/content'))).equals(pattern(6 * MB).subarray(4))).toBe(true)
  })

  test.for([100, 12 * MB])(
    'a writer that breaks off after %i bytes leaves nothing, and what was there stays',
    async (length) => {
      await store.write('files/a/content', chunksOf(Buffer.from('before'), 10))
      await expect(store.write('files/a/content', breakingOff(pattern(length)))).rejects.toThrow(
        'the client left',
      )
      await expect(store.write('files/b/content', breakingOff(pattern(length)))).rejects.toThrow(
        'the client left',
      )
      expect(await stored(kind)).toEqual(['files/a/content'])
      expect((await collect(store.read('files/a/content'))).toString()).toBe('before')
    },
  )

  test('what is not there is gone, has no size, and can be removed', async () => {
    await expect(collect(store.read('files/none/content'))).rejects.toThrow(FileGoneError)
    expect(await store.sizeOf('files/none/content')).toBeNull()
    await store.remove('files/none/content')
    await store.remove('files/none/')
  })

  test('removing an object or a folder leaves its neighbours', async () => {
    for (const name of ['files/a/content', 'files/a/index', 'files/a/credentials', 'files/ab/content']) {
      await store.write(name, chunksOf(Buffer.from(name), 10))
    }
    await store.remove('files/a/index')
    expect((await stored(kind)).toSorted()).toEqual([
      'files/a/content',
      'files/a/credentials',
      'files/ab/content',
    ])
    await store.remove('files/a/')
    expect(await stored(kind)).toEqual(['files/ab/content'])
  })

  test('more than a page of objects is removed at once', async () => {
    const log = store.openLog('batches/b/output/log-0')
    if (kind === 'bucket') {
      const put = (number: number) =>
        bucket.s3.putObject({ Bucket: bucket.bucket, Key: `some/prefix/batches/b/${number}`, Body: 'x' })
      for (let number = 0; number < 1100; number += 100) {
        await Promise.all(Array.from({ length: 100 }, (_, extra) => put(number + extra)))
      }
    }
    await log.append(Buffer.from('a line'))
    await log.close()
    await store.remove('batches/b/')
    expect(await stored(kind)).toEqual([])
  })

  test('what is appended to a log at the same time lies one behind the other, where it was said to lie', async () => {
    const log = store.openLog('batches/b/output/log-1')
    const records = Array.from({ length: 500 }, (_, number) =>
      Buffer.from(`record ${number};`.repeat(number % 7)),
    )
    const offsets = await Promise.all(records.map((record) => log.append(record)))
    const size = records.reduce((sum, { length }) => sum + length, 0)
    expect(log.position()).toBe(size)
    const later = await log.append(Buffer.from('later'))
    const whole = await collect(store.readLog('batches/b/output/log-1'))
    records.forEach((record, index) => {
      const offset = offsets[index] ?? -1
      expect(whole.subarray(offset, offset + record.length).equals(record)).toBe(true)
    })
    expect(whole.subarray(later).toString()).toBe('later')
    const part = await collect(store.readLog('batches/b/output/log-1', { from: size - 3, to: size + 2 }))
    expect(part.equals(whole.subarray(size - 3, size + 2))).toBe(true)
    await log.close()
  })

  test('a log is read while it is written, by another process too', async () => {
    const reader = openers[kind]()
    const log = store.openLog('batches/b/output/log-2')
    expect((await collect(reader.readLog('batches/b/output/log-2'))).length).toBe(0)
    for (const [index, text] of ['one', 'two', 'three'].entries()) {
      const offset = await log.append(Buffer.from(text))
      const read = await collect(
        reader.readLog('batches/b/output/log-2', { from: offset, to: offset + text.length }),
      )
      expect(read.toString(), String(index)).toBe(text)
    }
    expect((await collect(reader.readLog('batches/b/output/log-2', { from: 3 }))).toString()).toBe('twothree')
    await log.close()
    await reader.close()
  })

  test('a log that is closed takes nothing more', async () => {
    const log = store.openLog('batches/b/output/log-3')
    const last = log.append(Buffer.from('last'))
    await log.close()
    expect(await last).toBe(0)
    await expect(log.append(Buffer.from('late'))).rejects.toThrow()
  })
})

test('a log that could not be written rejects all that waited for it, and all that comes after', async () => {
  store = openFileStore(`file:${folder}`)
  await writeFile(join(folder, 'batches'), 'a file in the way')
  const log = store.openLog('batches/b/output/log-0')
  const waiting = await Promise.allSettled([log.append(Buffer.from('one')), log.append(Buffer.from('two'))])
  expect(waiting.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await expect(log.append(Buffer.from('three'))).rejects.toThrow()
  await log.close()
})

test.for(['folder', 'bucket'] as const)('in a %s nothing goes into a log of somebody else', async (kind) => {
  store = openers[kind]()
  const theirs = store.openLog('batches/b/output/log-0')
  await theirs.append(Buffer.from('theirs'))
  const ours = store.openLog('batches/b/output/log-0')
  await expect(ours.append(Buffer.from('ours'))).rejects.toThrow()
  await Promise.all([theirs.close(), ours.close()])
  expect((await collect(store.readLog('batches/b/output/log-0'))).toString()).toBe('theirs')
  await store.remove('batches/')
})

test.for(['at all', 'to its end'])(
  'a bucket that does not answer %s is not waited for for ever',
  async (part) => {
    const server = createServer((_, response) => {
      if (part === 'to its end') response.writeHead(200, { 'content-length': 10 }).write('half')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo // listens on TCP
    vi.stubEnv('AWS_ENDPOINT_URL_S3', `http://127.0.0.1:${port}`)
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1')
    const silent = openBucketStore({ bucket: 'silent', prefix: '', hasEndpoint: true, requestMs: 100 })
    await expect(collect(silent.read('files/a/content'))).rejects.toThrow(/time/i)
    await silent.close()
    server.closeAllConnections()
    server.close()
    for (const [name, value] of Object.entries(bucket.env)) vi.stubEnv(name, value)
  },
)

test('a name that was told to be there is there after a power cut, with all folders above it', async () => {
  store = openFileStore(`file:${folder}`)
  const handle = await open(folder)
  const synced = new Set<string>()
  const sync = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'sync')
  sync.mockImplementation(async function (this: FileHandle) {
    synced.add(await readlink(`/proc/self/fd/${this.fd}`))
  })
  await store.write('files/a/content', chunksOf(Buffer.from('x'), 1))
  const log = store.openLog('batches/b/output/log-0')
  await log.append(Buffer.from('a line'))
  sync.mockRestore()
  await Promise.all([log.close(), handle.close()])
  const names = ['', '/files', '/files/a', '/batches', '/batches/b', '/batches/b/output']
  expect([...synced].toSorted()).toEqual(names.map((name) => folder + name).toSorted())
})

test('removing a folder ends the uploads that a dead writer has begun there', async () => {
  store = openers.bucket()
  const upload = { Bucket: bucket.bucket, Key: 'some/prefix/files/a/content' }
  const { UploadId } = await bucket.s3.createMultipartUpload(upload)
  await bucket.s3.putObject({ ...upload, Key: `${upload.Key}.upload-0123456789ab`, Body: UploadId })
  await store.remove('files/a/')
  expect(await stored('bucket')).toEqual([])
  const part = { ...upload, UploadId, PartNumber: 1, Body: 'more' }
  await expect(bucket.s3.uploadPart(part)).rejects.toThrow(/upload does not exist/i)
})

test('removing a folder removes what a dead writer has left there', async () => {
  store = openers.folder()
  await store.write('files/a/content', chunksOf(Buffer.from('x'), 1))
  await writeFile(join(folder, 'files/a/content.0123456789ab.tmp'), 'half')
  await store.remove('files/a/')
  expect(await stored('folder')).toEqual([])
})

test.for(['/just/a/path', 'file:relative', 'http://bucket', 's3://', ''])(
  '%j is no place for files',
  (place) => {
    store = openers.folder()
    expect(() => openFileStore(place)).toThrow('GATEWAY_FILES must be')
  },
)

test('a place that can not be written to is told at the start', async () => {
  store = openFileStore(`file:${join(folder, 'file/in-it')}`)
  await writeFile(join(folder, 'file'), 'x')
  await expect(store.check()).rejects.toThrow(/GATEWAY_FILES=file:.* can not be written to/)
  const missing = openFileStore('s3://no-such-bucket', { hasEndpoint: true })
  await expect(missing.check()).rejects.toThrow('bucket')
  await missing.close()
  await openers.folder().check()
  expect(await stored('folder')).toEqual(['file'])
})
