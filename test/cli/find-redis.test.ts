import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRedisServer } from '../../cli/find-redis.ts'

const isDebian = existsSync('/usr/bin/apt-get')
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-find-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

/** A folder for PATH with a server in it that says it is of this version. */
async function serverOf(name: string, version: string, banner = 'Redis server'): Promise<string> {
  const bin = join(folder, `bin-${name}-${version}`)
  await mkdir(bin)
  const file = join(bin, name)
  await writeFile(file, `#!/bin/sh\necho "${banner} v=${version} sha=00000000:0 malloc=libc bits=64"\n`)
  await chmod(file, 0o755)
  return bin
}

test('a redis-server on PATH is taken', async () => {
  const bin = await serverOf('redis-server', '7.2.4')
  expect(await findRedisServer({ path: `/nowhere${delimiter}${bin}`, cacheDir: folder })).toBe(
    join(bin, 'redis-server'),
  )
})

test('a valkey-server on PATH is taken', async () => {
  const bin = await serverOf('valkey-server', '8.1.1', 'Valkey server')
  expect(await findRedisServer({ path: bin, cacheDir: folder })).toBe(join(bin, 'valkey-server'))
})

test('a server older than 6.2 is passed over for a later one', async () => {
  const old = await serverOf('redis-server', '6.0.16')
  const good = await serverOf('redis-server', '6.2.0')
  const path = [old, good].join(delimiter)
  expect(await findRedisServer({ path, cacheDir: folder })).toBe(join(good, 'redis-server'))
})

test.runIf(isDebian)(
  'where PATH has none, several processes at once unpack one into the cache, and it is found there again',
  async () => {
    const search = { path: '/nowhere', cacheDir: join(folder, 'cache') }
    const [first, second] = await Promise.all([findRedisServer(search), findRedisServer(search)])
    expect(first).toBe(second)
    expect(first.startsWith(folder)).toBe(true)
    // Nothing but the one folder: what both used to get there is gone.
    expect(await readdir(search.cacheDir)).toHaveLength(1)
    expect(await findRedisServer(search)).toBe(first)
  },
  300_000,
)
