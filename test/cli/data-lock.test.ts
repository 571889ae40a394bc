import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockDataDir } from '../../cli/data-lock.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-lock-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

test('a folder in use is refused with the holder and what to do, and free again after release', async () => {
  const lock = await lockDataDir(folder)
  const sentence = `in use by another gateway on this machine (process ${process.pid}). Stop that one, or give`
  await expect(lockDataDir(folder)).rejects.toThrow(sentence)
  await lock.release()
  await (await lockDataDir(folder)).release()
  expect(await readdir(folder)).toEqual([])
})

test('the lock of a dead process is taken over, also when its id belongs to another process now', async () => {
  for (const stale of ['999999999 1/1\n', `${process.pid} an-earlier-boot/1\n`, '']) {
    await writeFile(join(folder, 'lock'), stale)
    await (await lockDataDir(folder)).release()
  }
})

test('of many takers of a stale lock at once exactly one gets it', async () => {
  await writeFile(join(folder, 'lock'), '999999999 1/1\n')
  const takers = await Promise.allSettled(Array.from({ length: 8 }, () => lockDataDir(folder)))
  expect(takers.filter((taker) => taker.status === 'fulfilled')).toHaveLength(1)
})
