import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

const SETUP = fileURLToPath(new URL('../../cli/setup.mjs', import.meta.url))

/** Stands in for npm, so that no registry is needed: notes how it was called and installs what the lock says. */
const NPM = `
const { cpSync, mkdirSync, readFileSync, writeFileSync, appendFileSync } = require('node:fs')
appendFileSync('npm-calls', process.argv.slice(2).join(' ') + '\\n')
if (process.env.NPM_FAILS) process.exit(1)
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'))
for (const path of Object.keys(lock.packages)) if (path) mkdirSync(path, { recursive: true })
cpSync('package-lock.json', 'node_modules/.package-lock.json')
`

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'byok-test-setup-'))
  await writeFile(join(folder, 'npm.cjs'), NPM)
  await writeLock({ 'node_modules/needed': { version: '1.0.0' } })
})

afterEach(() => rm(folder, { recursive: true, force: true }))

function writeLock(packages: Record<string, object>): Promise<void> {
  return writeFile(join(folder, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...packages } }))
}

/** Runs it as npm does. @returns exit code, what it printed, and how often npm was called so far. */
async function setup(env: Record<string, string> = {}, ...options: string[]) {
  const run = await new Promise<{ code: number; output: string }>((done) => {
    execFile(
      process.execPath,
      [SETUP, ...options, folder],
      { env: { PATH: process.env.PATH, npm_execpath: join(folder, 'npm.cjs'), ...env } },
      (error, stdout, stderr) => done({ code: error ? Number(error.code) : 0, output: stdout + stderr }),
    )
  })
  const calls = await readFile(join(folder, 'npm-calls'), 'utf8').catch(() => '')
  return { ...run, installs: calls.split('\n').filter((line) => line.startsWith('ci ')).length }
}

test('a fresh clone is installed once, and then left alone', async () => {
  expect(await setup()).toMatchObject({ code: 0, installs: 1, output: expect.stringContaining('npm ci') })
  expect(await setup()).toEqual({ code: 0, installs: 1, output: '' })
})

test('no package gets to run a script at install', async () => {
  await setup()
  expect(await readFile(join(folder, 'npm-calls'), 'utf8')).toContain('--ignore-scripts')
})

test('another version in the lock, or a package that is gone, installs again', async () => {
  await setup()
  await writeLock({ 'node_modules/needed': { version: '1.0.1' } })
  expect(await setup()).toMatchObject({ code: 0, installs: 2 })
  await rm(join(folder, 'node_modules/needed'), { recursive: true })
  expect(await setup()).toMatchObject({ code: 0, installs: 3 })
  expect(await setup()).toMatchObject({ code: 0, installs: 3 })
})

test('an install that broke off is done again', async () => {
  await mkdir(join(folder, 'node_modules/needed'), { recursive: true })
  expect(await setup()).toMatchObject({ code: 0, installs: 1 })
})

test("the tests' packages are needed for tests only, and other systems' packages never", async () => {
  await setup()
  await writeLock({
    'node_modules/needed': { version: '1.0.0' },
    'node_modules/for-tests': { version: '1.0.0', dev: true },
    'node_modules/for-another-system': { version: '1.0.0', optional: true },
  })
  expect(await setup()).toMatchObject({ code: 0, installs: 1 })
  expect(await setup({}, '--dev')).toMatchObject({ code: 0, installs: 2 })
})

test('an install that fails stops the start with a sentence', async () => {
  expect(await setup({ NPM_FAILS: '1' })).toMatchObject({
    code: 1,
    output: expect.stringContaining('npm ci failed'),
  })
})
