import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SealError } from '../../shared/errors.ts'
import { openFileStore, type FileStore } from '../../shared/files/file-store.ts'
import { createSealer } from '../../shared/seal.ts'
import { contentName, readSealedFile, sealedFrameBytes, sealFrames } from '../../shared/files/sealed-file.ts'
import { collect } from '../support/bytes.ts'

const FRAME = 65_536
const old = { id: 'k1', key: randomBytes(32) }
const sealer = createSealer([old])
const place = { tenant: 'acme', kind: 'file' as const, id: 'file-1' }
let folder: string
let store: FileStore
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-sealed-'))
  store = openFileStore(`file:${folder}`)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Writes content in chunks of a size and gives what its record would hold. */
async function write(content: Buffer, chunkBytes = 10_007) {
  const sealed = sealer.record(place)
  const chunks: Buffer[] = []
  for (let at = 0; at < content.length; at += chunkBytes) chunks.push(content.subarray(at, at + chunkBytes))
  let bytes = 0
  await store.write(
    contentName(place.id),
    sealFrames(sealed, Readable.from(chunks), (count) => (bytes += count)),
  )
  return { ...place, bytes, frameBytes: sealedFrameBytes(sealed) }
}

const read = (...args: Parameters<typeof readSealedFile>): Promise<Buffer> => collect(readSealedFile(...args))

test.for([0, 1, FRAME - 1, FRAME, FRAME + 1, 5 * FRAME, 700_001])(
  '%i bytes come back as they were',
  async (length) => {
    const content = randomBytes(length)
    for (const chunkBytes of [10_007, FRAME, 1_000_000]) {
      const file = await write(content, chunkBytes)
      expect(file.bytes).toBe(length)
      expect((await read(store, file, sealer)).equals(content)).toBe(true)
    }
  },
)

test('any range comes back, and is cut at the end', async () => {
  const content = randomBytes(3 * FRAME + 100)
  const file = await write(content)
  const edges = [
    0,
    1,
    FRAME - 1,
    FRAME,
    FRAME + 1,
    2 * FRAME,
    3 * FRAME,
    3 * FRAME + 99,
    3 * FRAME + 100,
    9 * FRAME,
  ]
  for (const from of edges) {
    for (const to of edges) {
      const part = await read(store, file, sealer, { from, to })
      expect(part.equals(content.subarray(from, Math.max(from, to))), `${from} to ${to}`).toBe(true)
    }
  }
})

test('only the frames of a range are read', async () => {
  const file = await write(randomBytes(10 * FRAME))
  let bytesRead = 0
  const counting: FileStore = {
    ...store,
    async *read(name, range) {
      for await (const chunk of store.read(name, range)) {
        bytesRead += chunk.length
        yield chunk
      }
    },
  }
  expect((await read(counting, file, sealer, { from: 5 * FRAME + 10, to: 5 * FRAME + 20 })).length).toBe(10)
  expect(bytesRead).toBe(file.frameBytes)
})

test('a frame does not open at another place, in another file, for another tenant, or changed', async () => {
  const content = Buffer.concat([Buffer.alloc(FRAME, 1), Buffer.alloc(FRAME, 2)])
  const file = await write(content)
  await expect(read(store, { ...file, tenant: 'other' }, sealer)).rejects.toThrow(SealError)
  await expect(read(store, { ...file, id: 'file-2', name: contentName(file.id) }, sealer)).rejects.toThrow(
    SealError,
  )
  const path = join(folder, contentName(file.id))
  const stored = await readFile(path)
  const [first, second] = [stored.subarray(0, file.frameBytes), stored.subarray(file.frameBytes)]
  await writeFile(path, Buffer.concat([second, first]))
  await expect(read(store, file, sealer)).rejects.toThrow(SealError)
  stored[1_000] = (stored[1_000] ?? 0) ^ 1
  await writeFile(path, stored)
  await expect(read(store, file, sealer)).rejects.toThrow(SealError)
})

test('a file that lost whole frames at its end is not taken for a shorter one', async () => {
  const file = await write(randomBytes(3 * FRAME))
  const path = join(folder, contentName(file.id))
  await writeFile(path, (await readFile(path)).subarray(0, 2 * file.frameBytes))
  await expect(read(store, file, sealer)).rejects.toThrow(SealError)
})

test('nothing of the content can be read in the store', async () => {
  const marker = 'a-prompt-nobody-may-read'
  const file = await write(Buffer.from(marker.repeat(20_000)))
  const stored = await readFile(join(folder, contentName(file.id)))
  expect(stored.includes(marker)).toBe(false)
})

test('a file that was sealed under an older key is read after the keys were rotated', async () => {
  const content = randomBytes(2 * FRAME + 5)
  const file = await write(content)
  const rotated = createSealer([{ id: 'a-longer-name-of-key', key: randomBytes(32) }, old])
  expect((await read(store, file, rotated)).equals(content)).toBe(true)
  expect((await read(store, file, rotated, { from: FRAME + 3, to: FRAME + 9 })).length).toBe(6)
})
