// `npm run mutants`: takes one protection away at a time, in a copy of the working tree, and demands that the tests that
// stand for it turn red. A protection that can be removed unnoticed is not tested.
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

type Change = { file: string; from: string; to: string }
type Mutant = { name: string; changes: Change[]; tests: string[] }
type Run = { passed: number; failed: number; output: string }

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const MUTANTS: Mutant[] = [
  {
    name: 'outbound guard off: a socket is opened to any address',
    changes: [
      {
        file: 'worker/connector.ts',
        from: 'policy === null || policy.isAddressAllowed(address, target)',
        to: 'policy === null || address !== String(target.port)',
      },
    ],
    tests: ['test/worker/outbound.test.ts'],
  },
  {
    name: 'early guard off: a URL of a client may name any address',
    changes: [{ file: 'shared/egress.ts', from: '    checkHost(parsed, param)\n', to: '' }],
    tests: ['test/shared/egress.test.ts', 'test/e2e/client-urls-are-safe.test.ts'],
  },
  {
    name: 'erase off: credentials outlive their job',
    changes: [{ file: 'shared/settle.ts', from: "const ERASED = ['cred', ", to: 'const ERASED = [' }],
    tests: ['test/shared/jobs.test.ts', 'test/e2e/sealed-and-erased.test.ts'],
  },
  {
    name: 'claim check off: a job that runs is given away again',
    changes: [
      {
        file: 'shared/lua/claim-job.lua',
        from: "then return { 'held' } end",
        to: 'then status = record[1] end',
      },
    ],
    tests: ['test/shared/jobs.test.ts'],
  },
  {
    name: 'customer check off: whoever knows an id is called with the key of another customer',
    changes: [
      { file: 'shared/named-credentials.ts', from: '!stored || stored.customer !== customer', to: '!stored' },
    ],
    tests: ['test/api/credentials.test.ts', 'test/e2e/stored-credentials.test.ts'],
  },
  {
    name: 'chunk bound off: plans of a stored credential outlive its rotation',
    changes: [
      {
        file: 'shared/batch-lines.ts',
        from: 'namesCredential(under) ? credentials?.plans : dependencies.plans',
        to: 'dependencies.plans',
      },
    ],
    tests: ['test/worker/chunk-credentials.test.ts'],
  },
  {
    name: 'scopes off: a key for reading submits',
    changes: [{ file: 'api/plugins/auth.ts', from: '    requireScope(principal, request)\n', to: '' }],
    tests: ['test/e2e/all-routes.test.ts'],
  },
  {
    name: 'reach off: the admin of one tenant makes keys of another',
    changes: [
      { file: 'api/admin.ts', from: '!principal.isMaster && id !== tenant', to: "principal.tenant === ''" },
    ],
    tests: ['test/api/admin.test.ts'],
  },
  {
    name: 'models off: a key for some models asks for any',
    changes: [
      {
        file: 'shared/plan.ts',
        from: 'if (allowed && !isConfigGiven) requireAsked',
        to: "if (allowed && model === '') requireAsked",
      },
    ],
    tests: ['test/api/allowed.test.ts', 'test/worker/batch-validation.test.ts'],
  },
  {
    name: 'owner check off: whoever knows an id reads the job',
    changes: [
      {
        file: 'shared/jobs.ts',
        from: 'return view?.tenant === tenant ? view : null',
        to: "return tenant === '' ? null : view",
      },
    ],
    tests: ['test/shared/jobs.test.ts'],
  },
  {
    name: 'seal off: values lie in Redis as they are',
    changes: [
      {
        file: 'shared/seal.ts',
        from: '      seal(field: string, value: string | Uint8Array): Buffer {\n',
        to: '      seal(field: string, value: string | Uint8Array): Buffer {\n        if (field) return Buffer.from(value as string)\n',
      },
      {
        file: 'shared/seal.ts',
        from: '      open(field: string, envelope: Buffer): Buffer {\n',
        to: '      open(field: string, envelope: Buffer): Buffer {\n        if (field) return envelope\n',
      },
    ],
    tests: ['test/shared/jobs.test.ts', 'test/e2e/sealed-and-erased.test.ts'],
  },
  {
    name: 'keys mixed up: every call of a job has the first key',
    changes: [
      {
        file: 'worker/attempt.ts',
        from: 'claim.bundles?.[claim.plan.deployments.indexOf(deployment)]',
        to: 'claim.bundles?.[Math.min(0, claim.plan.deployments.indexOf(deployment))]',
      },
    ],
    tests: ['test/e2e/keys-never-cross.test.ts', 'test/e2e/fallbacks.test.ts'],
  },
  {
    name: 'credentials forgotten: two accounts of a cloud share one state',
    changes: [
      {
        file: 'shared/deployment-ids.ts',
        from: '    ...(bundle.auth ? [sorted(bundle.auth)] : []),\n',
        to: '',
      },
    ],
    tests: ['test/shared/provider-auth.test.ts'],
  },
  {
    name: 'stream forgotten: what a client has seen a part of is begun again',
    changes: [
      {
        file: 'shared/claims.ts',
        from: "hasStreamed: text('streamed') !== null",
        to: "hasStreamed: text('streamed') === 'never'",
      },
    ],
    tests: ['test/e2e/streaming.test.ts'],
  },
  {
    name: 'stream open to all: a claim that was replaced goes on telling',
    changes: [
      {
        file: 'shared/lua/append-stream.lua',
        from: "if redis.call('HGET', job, 'token') ~= ARGV[1] then return 'fenced' end\n",
        to: '',
      },
    ],
    tests: ['test/shared/job-streams.test.ts'],
  },
  {
    name: 'settled twice: a line of a batch ends again with each result',
    changes: [
      {
        file: 'shared/lua/settle-lines.lua',
        from: "word = redis.call('SETBIT', done, ARGV[at], 1) == 0 and 's' or 'e'",
        to: "word = redis.call('SETBIT', done, ARGV[at], 1) >= 0 and 's' or 'e'",
      },
    ],
    tests: ['test/shared/batches.test.ts', 'test/shared/batch-properties.test.ts'],
  },
  {
    name: "line's key kept: credentials of a settled line can still be opened",
    changes: [
      {
        file: 'shared/lua/settle-lines.lua',
        from: "string.rep('\\0', key_bytes)",
        to: "string.rep('\\1', key_bytes)",
      },
    ],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'chunk open to all: a claim that was replaced goes on starting calls',
    changes: [
      {
        file: 'shared/lua/start-lines.lua',
        from: "if redis.call('HGET', chunk, 'token') ~= ARGV[1] then return string.rep('f', count) end\n",
        to: '',
      },
    ],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'batch line uncut: credentials in the body of a line rest in its text',
    changes: [
      {
        file: 'shared/line-credentials.ts',
        from: '        if (isCutOut(careOf(member.name), text, member)) secrets.push(member)\n',
        to: '',
      },
    ],
    tests: ['test/shared/line-credentials.test.ts'],
  },
  {
    name: "batch credentials mixed: a line with its own has its batch's as well",
    changes: [
      {
        file: 'shared/batch-lines.ts',
        from: 'Object.keys(own).some(isCredential) ? withoutBundle(defaults) : defaults',
        to: 'Object.keys(own).some(isCredential) ? { ...defaults } : defaults',
      },
    ],
    tests: ['test/shared/batch-lines.test.ts'],
  },
  {
    name: 'file owner check off: whoever knows an id reads the file',
    changes: [
      {
        file: 'shared/files.ts',
        from: 'return view?.tenant === tenant ? view : null',
        to: "return tenant === '' ? null : view",
      },
    ],
    tests: ['test/api/batch-output.test.ts'],
  },
  {
    name: 'batch owner check off: whoever knows an id reads the batch',
    changes: [
      {
        file: 'shared/batches.ts',
        from: 'return view?.tenant === tenant ? view : null',
        to: "return tenant === '' ? null : view",
      },
    ],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'batch credentials kept: what lay under all lines outlives their batch',
    changes: [{ file: 'shared/lua/end-batch.lua', from: "batch, 'cred', 'live'", to: "batch, 'live'" }],
    tests: ['test/shared/batches.test.ts'],
  },
]

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
