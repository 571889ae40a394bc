import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { findEmbeddedRedis, startEmbeddedRedis, type EmbeddedRedis } from '../../cli/embedded-redis.ts'
import { createLog } from '../../shared/log.ts'
import { createRedis } from '../../shared/redis.ts'
import { eventually } from '../support/eventually.ts'

const server = inject('redisServer') ?? undefined
const log = createLog('silent', 'test')
const started: EmbeddedRedis[] = []
let dataDir: string

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'byok-test-data-'))
})

afterEach(async () => {
  await Promise.all(started.splice(0).map((redis) => redis.stop()))
  await rm(dataDir, { recursive: true, force: true })
})

async function startRedis(folder = dataDir): Promise<EmbeddedRedis> {
  const redis = await startEmbeddedRedis({ dataDir: folder, server })
  started.push(redis)
  return redis
}

/** One command, with its answer as text. */
async function command(url: string, ...words: [string, ...string[]]): Promise<string> {
  const redis = createRedis(url, 'blocking', log)
  try {
    return String(await redis.call(...words))
  } finally {
    redis.disconnect()
  }
}

test('it keeps everything on disk, evicts nothing, has a memory limit and listens on no port', async () => {
  const { url, socket } = await startRedis()
  const info = await command(url, 'INFO')
  expect(info).toContain('aof_enabled:1')
  expect(info).toContain('maxmemory_policy:noeviction')
  expect(info).not.toContain('maxmemory:0\r')
  expect(info).toContain('tcp_port:0')
  expect((await stat(socket)).mode & 0o077).toBe(0)
})

test('what was written is there after a stop and a start', async () => {
  const first = await startRedis()
  await command(first.url, 'SET', 'kept', 'yes')
  await first.stop()
  expect(await findEmbeddedRedis(dataDir)).toBeNull()
  const second = await startRedis()
  expect(await command(second.url, 'GET', 'kept')).toBe('yes')
  expect(await findEmbeddedRedis(dataDir)).toBe(second.url)
})

test('a Redis left behind by a killed start is ended before another one opens its files', async () => {
  const leftover = await startRedis()
  await command(leftover.url, 'SET', 'kept', 'yes')
  const next = await startRedis()
  expect((await leftover.exited).code).toBe(0)
  expect(next.pid).not.toBe(leftover.pid)
  expect(await command(next.url, 'GET', 'kept')).toBe('yes')
})

test('a data folder too deep for a unix socket works, and is found by the command line', async () => {
  const deep = join(dataDir, 'x'.repeat(60), 'y'.repeat(60))
  const redis = await startRedis(deep)
  const { url, socket } = redis
  expect(Buffer.byteLength(socket)).toBeLessThan(104)
  expect(await command(url, 'PING')).toBe('PONG')
  expect(await findEmbeddedRedis(deep)).toBe(url)
  await redis.stop()
  await expect(stat(join(socket, '..'))).rejects.toThrow('ENOENT')
})

test('a Redis that does not start is an error with its own words', async () => {
  await expect(startEmbeddedRedis({ dataDir, server, memoryBytesMax: Number.NaN })).rejects.toThrow(
    /did not start: [^]*maxmemory/,
  )
  await eventually('no Redis is left', async () => (await findEmbeddedRedis(dataDir)) === null)
})
