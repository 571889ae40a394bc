// `npm test`: the static checks beside the tests, which wait for processes and timers a part of the time and leave as much of the
// processor to them. The checks are the more patient of the two. Whatever follows `npm test --` is for vitest.
import { spawn, type ChildProcess } from 'node:child_process'
import { constants, setPriority } from 'node:os'

const shell = process.platform === 'win32'
// The checks are in no hurry: types looked at by one thread, and memory that is not collected, cost a third less of the processor.
const env = { ...process.env, GOMAXPROCS: '1', GOGC: 'off', GOMEMLIMIT: '3GiB' }
const checks = spawn('npm', ['run', '--silent', 'check'], { shell, env, stdio: ['ignore', 'pipe', 'pipe'] })
if (checks.pid) setPriority(checks.pid, constants.priority.PRIORITY_LOW)
const vitest = ['run', '--silent', 'test:run', '--', ...process.argv.slice(2)]
const tests = spawn('npm', vitest, { shell, stdio: 'inherit' })
// A terminal tells all three at once that they are to end; whoever else does, tells this one.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {
  for (const child of [checks, tests]) child.kill('SIGTERM')
})

const said: Buffer[] = []
for (const stream of [checks.stdout, checks.stderr]) stream.on('data', (chunk: Buffer) => said.push(chunk))
const checked = codeOf(checks).then((code) => {
  if (code !== 0) process.stderr.write(`\nThe static checks failed:\n${Buffer.concat(said).toString()}\n`)
  return code
})
const codes = await Promise.all([checked, codeOf(tests)])
// What they said was long ago by now, and the tests' own last line may be of nothing but success.
if (codes[0] !== 0)
  process.stderr.write(
    '\nThe static checks failed: what they said is above, `npm run check` says it again.\n',
  )
process.exitCode = codes.find((code) => code !== 0) ?? 0

function codeOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once('error', () => resolve(1))
    child.once('close', (code) => resolve(code ?? 1))
  })
}
