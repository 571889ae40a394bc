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
  expect(await readdir(folder)).toHaveLength(1)
})

test('the lock of a dead process is taken over, also when its id belongs to another process now', async () => {
  for (const stale of ['999999999 1/1\n', `${process.pid} an-earlier-boot/1\n`, '']) {
    await writeFile(join(folder, 'lock.7'), stale)
    await (await lockDataDir(folder)).release()
  }
})

test('of many takers of a stale lock at once exactly one gets it', async () => {
  for (let round = 0; round < 40; round += 1) {
    await writeFile(join(folder, `lock.${1000 * (round + 1)}`), '999999999 1/1\n')
    const takers = await Promise.allSettled(Array.from({ length: 6 }, () => lockDataDir(folder)))
    const locks = takers.flatMap((taker) => (taker.status === 'fulfilled' ? [taker.value] : []))
    expect(locks).toHaveLength(1)
    await locks[0]?.release()
  }
})
