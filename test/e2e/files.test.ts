import { readdir, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { File } from '../../shared/schemas/file.ts'
import { dumpFolder, dumpRedis } from '../support/dump.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { batchLines, uploadStream, watchProcess } from '../support/uploading.ts'

const MB = 1024 * 1024
const MARKER = 'sk-nobody-may-read-this'
const WATCH = fileURLToPath(new URL('../support/turn-watch.ts', import.meta.url))

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway({
    env: { NODE_OPTIONS: `--import=${WATCH}`, GATEWAY_FILE_BYTES_MAX: String(26 * MB) },
  })
})
afterAll(() => gateway?.stop())

const upload = (content: Iterable<Buffer>, target: Parameters<typeof uploadStream>[2]) =>
  uploadStream({ url: gateway.url, key: gateway.masterKey }, content, target)

/** How much lies in the store, finished or not. */
async function storedBytes(): Promise<number> {
  const entries = await readdir(gateway.filesFolder, { recursive: true, withFileTypes: true })
  const files = entries.filter((one) => one.isFile())
  // One may go while it is counted.
  const sizes = files.map((one) =>
    stat(join(one.parentPath, one.name)).then(
      ({ size }) => size,
      () => 0,
    ),
  )
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

/** The longest turn of the API's event loop since it was last asked, in milliseconds of processor time. */
async function longestTurnMs(): Promise<number> {
  const told = () => [...gateway.api.output().matchAll(/"longest_turn_ms":([\d.]+)/g)]
  const before = told().length
  gateway.api.kill('SIGUSR2')
  await eventually('the API tells it', () => told().length > before)
  return Number(told().at(-1)?.[1])
}

function* repeated(bytes: number): Iterable<Buffer> {
  const chunk = Buffer.alloc(64 * 1024, MARKER)
  for (let sent = 0; sent < bytes; sent += chunk.length) yield chunk
}

// With 200 MB: bench/upload.ts.
test.for(['file first', 'file last'] as const)(
  'a batch’s input of 24 MB, %s, passes through in small turns and in little memory',
  async (order) => {
    await upload(batchLines(4 * MB), { purpose: 'batch', order })
    await longestTurnMs()
    const seen = await watchProcess({ pid: gateway.api.pid, url: gateway.url }, () =>
      upload(batchLines(24 * MB), { purpose: 'batch', order }),
    )
    expect(seen.result.status, JSON.stringify(seen.result.json)).toBe(200)
    expect(await longestTurnMs()).toBeLessThan(50)
    expect(seen.grownBytes).toBeLessThan(100 * MB)
  },
)

test('a file whose length nobody knew is refused where it goes over the limit, and leaves nothing', async () => {
  const before = await storedBytes()
  const { status, json } = await upload(repeated(30 * MB), { purpose: 'user_data' })
  expect(status).toBe(413)
  expect(json).toMatchObject({
    error: { type: 'invalid_request_error', code: 'request_too_large', param: null },
  })
  expect(await storedBytes()).toBe(before)
})

test('a client that breaks off in the middle leaves nothing', async () => {
  const { redis, keys, url, masterKey } = gateway
  const before = await storedBytes()
  const due = await redis.zcard(keys.filesDue)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(
    `POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${masterKey}\r\ncontent-length: 10000000\r\n` +
      'content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n',
  )
  socket.write(Buffer.alloc(3 * MB, MARKER))
  await eventually('some of it is written', async () => (await storedBytes()) > before + 2 * MB)
  expect(await redis.zcard(keys.filesDue)).toBe(due + 1)
  socket.destroy()
  await eventually('it is gone', async () => (await redis.zcard(keys.filesDue)) === due)
  expect(await storedBytes()).toBe(before)
})

test('what an API that was killed had written is removed when its time is over', async () => {
  const { redis, keys } = gateway
  const before = await storedBytes()
  const due = await redis.zrange(keys.filesDue, '0', '-1')
  const sent = upload(repeated(45 * MB), { purpose: 'user_data' }).catch(() => null)
  await eventually('some of it is written', async () => (await storedBytes()) > before + MB)
  gateway.api.kill('SIGKILL')
  await sent
  await gateway.api.ended()
  const left = (await redis.zrange(keys.filesDue, '0', '-1')).filter((id) => !due.includes(id))
  expect(left).toHaveLength(1)
  expect(await storedBytes()).toBeGreaterThan(before)
  await redis.zadd(keys.filesDue, 1, left[0] ?? '')
  await eventually('the sweeper removes it', async () => (await storedBytes()) === before)
  await gateway.replaceApi()
})

test('a file that has expired is erased by the sweeper', async () => {
  const { json } = await upload(repeated(100_000), { purpose: 'user_data' })
  const { id } = json as File
  const { redis, keys } = gateway
  await redis.hset(keys.file(id), 'expires', 1)
  await redis.zadd(keys.filesDue, 1, id)
  await eventually('it is gone', async () => (await gateway.call('GET', `/v1/files/${id}`)).status === 404)
  await eventually('its record is gone', async () => (await redis.exists(keys.file(id))) === 0)
})

test('nothing of a file is readable in the store, in Redis or in a log', async () => {
  const { status } = await upload(repeated(MB), { purpose: 'user_data', order: 'file first' })
  expect(status).toBe(200)
  const kept = [
    await dumpFolder(gateway.filesFolder),
    await dumpRedis(gateway.redis),
    Buffer.from(gateway.logs()),
  ]
  for (const bytes of kept) {
    for (const secret of [MARKER, 'words of a prompt', 'big.jsonl'])
      expect(bytes.includes(secret), secret).toBe(false)
  }
})
