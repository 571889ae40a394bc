// `npm run mutants`: takes one protection away at a time, in a copy of the working tree, and demands that the tests that
// stand for it turn red. A protection that can be removed unnoticed is not tested.
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MUTANTS, type Mutant } from './support/mutants.ts'

type Run = { passed: number; failed: number; output: string }

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Copies what git knows or would take in: the working tree as it stands. The caller removes the folder. */
function copyTree(): string {
  const folder = mkdtempSync(join(tmpdir(), 'byok-mutants-'))
  const options = { cwd: ROOT, encoding: 'utf8' as const }
  const listed = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    options,
  )
  const deleted = new Set(execFileSync('git', ['ls-files', '-z', '--deleted'], options).split('\0'))
  for (const file of listed.split('\0')) {
    if (file !== '' && !deleted.has(file)) cpSync(join(ROOT, file), join(folder, file))
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

/** Applies a mutant. @returns how to undo it. @throws when the text it replaces is not there exactly once. */
function mutate(folder: string, { name, changes }: Mutant): () => void {
  const originals = changes.map(
    ({ file }) => [join(folder, file), readFileSync(join(folder, file), 'utf8')] as const,
  )
  for (const { file, from, to } of changes) {
    const text = readFileSync(join(folder, file), 'utf8')
    if (text.split(from).length !== 2)
      throw new Error(`"${name}" finds nothing to change in ${file}: ${from.trim()}`)
    writeFileSync(
      join(folder, file),
      text.replace(from, () => to),
    )
  }
  return () => {
    for (const [path, text] of originals) writeFileSync(path, text)
  }
}

async function runTests(folder: string, tests: readonly string[]): Promise<Run> {
  const command = join('node_modules', 'vitest', 'vitest.mjs')
  const child = spawn(process.execPath, [command, 'run', ...tests], {
    cwd: folder,
    // What a mutant breaks is waited for in vain, over and over.
    env: { ...process.env, TEST_PATIENCE_MS: '15000' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const chunks: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await new Promise((resolve) => child.once('close', resolve))
  const output = Buffer.concat(chunks).toString()
  // The line of test/support/summary-reporter.ts.
  const [, passed = 0, failed = 0] = /^(\d+) passed, (\d+) failed, /m.exec(output) ?? []
  return { passed: Number(passed), failed: Number(failed), output }
}

/** What became of a mutant; null when it was caught. */
async function tryMutant(folder: string, mutant: Mutant): Promise<{ run: Run; fault: string | null }> {
  const undo = mutate(folder, mutant)
  try {
    const run = await runTests(folder, mutant.tests)
    // Something must still pass: a mutant that breaks everything shows nothing.
    const fault = run.failed === 0 ? 'SURVIVED' : run.passed === 0 ? 'BROKEN' : null
    return { run, fault }
  } finally {
    undo()
  }
}

async function main(): Promise<number> {
  const wanted = process.argv[2] ?? ''
  const mutants = MUTANTS.filter(({ name }) => name.startsWith(wanted))
  const folder = copyTree()
  try {
    // All of them first: a text that is gone shows before any test has run.
    for (const mutant of mutants) mutate(folder, mutant)()
    const tests = [...new Set(mutants.flatMap((mutant) => mutant.tests))]
    const unchanged = await runTests(folder, tests)
    if (unchanged.failed > 0 || unchanged.passed === 0) {
      process.stdout.write(
        `${unchanged.output}\nThe tests are red without any mutant; nothing can be learned.\n`,
      )
      return 1
    }
    let faults = 0
    for (const mutant of mutants) {
      const { run, fault } = await tryMutant(folder, mutant)
      if (fault) faults += 1
      if (fault === 'BROKEN') process.stdout.write(run.output)
      const figures = `${run.failed} failed, ${run.passed} passed`.padEnd(24)
      process.stdout.write(`${(fault ?? 'caught').padEnd(10)}${figures}${mutant.name}\n`)
    }
    process.stdout.write(`${mutants.length - faults} of ${mutants.length} mutants caught\n`)
    return faults === 0 && mutants.length > 0 ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

process.exitCode = await main()
