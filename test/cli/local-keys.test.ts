import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readOrMakeKeys } from '../../cli/local-keys.ts'
import { parseConfig } from '../../shared/config.ts'

let folder: string

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'byok-test-keys-')), 'keys')
})

afterEach(() => rm(join(folder, '..'), { recursive: true, force: true }))

test('the keys of a first start are what the processes accept, and only their owner can read them', async () => {
  const { file, environment, isNew } = await readOrMakeKeys(folder)
  expect(isNew).toBe(true)
  expect(environment.GATEWAY_MASTER_KEY).toMatch(/^sk-[\w-]{43}$/)
  expect(
    parseConfig({ ...environment, REDIS_URL: 'unix:///x', GATEWAY_FILES: 'file:/x' }).secrets.encryptionKeys,
  ).toHaveLength(1)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect((await stat(folder)).mode & 0o777).toBe(0o700)
})

test('all first starts at once and every later one get the same keys', async () => {
  const starts = await Promise.all(Array.from({ length: 8 }, () => readOrMakeKeys(folder)))
  starts.push(await readOrMakeKeys(folder))
  expect(new Set(starts.map(({ environment }) => JSON.stringify(environment))).size).toBe(1)
  expect(starts.filter(({ isNew }) => isNew)).toHaveLength(1)
  expect(await readdir(folder)).toEqual(['keys.env'])
})

test('a damaged file is named with what it lacks, and not written over', async () => {
  const { file } = await readOrMakeKeys(folder)
  await writeFile(file, 'GATEWAY_MASTER_KEY=sk-12345678\n')
  await expect(readOrMakeKeys(folder)).rejects.toThrow(
    /keys\.env does not hold GATEWAY_ENCRYPTION_KEYS, GATEWAY_ID/,
  )
})
