import { spawn, type ChildProcess } from 'node:child_process'
import { PATIENCE_MS } from './eventually.ts'

/** A child process with its output kept, and an end that can be awaited. */
export type TestProcess = {
  readonly pid: number
  readonly child: ChildProcess
  /** Everything written to stdout and stderr so far. */
  output: () => string
  hasEnded: () => boolean
  kill: (signal: NodeJS.Signals) => void
  /** Resolves with the exit code, or the signal's name. Kills and rejects when it takes longer than `timeoutMs`, two minutes unless given. */
  ended: (timeoutMs?: number) => Promise<number | string>
}

const running = new Set<ChildProcess>()
// A test run that is given up must not leave servers behind.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * Starts a process with exactly this environment: nothing of the test run's own gets in.
 * @param options `endsWithUs`: for our own processes, which end by themselves when this one is gone, however it went.
 */
export function startProcess(
  command: string,
  args: readonly string[],
  { env, cwd, endsWithUs = false }: { env: Record<string, string>; cwd?: string; endsWithUs?: boolean },
): TestProcess {
  const child = endsWithUs
    ? spawn(command, args, {
        env: { ...env, GATEWAY_EXIT_WITH_PARENT: '1' },
        cwd,
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      })
    : spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  child.channel?.unref()
  const chunks: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk))
  running.add(child)
  let end: number | string | null = null
  const closed = new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'))
  })
  const noted = closed.then((value) => {
    end = value
    running.delete(child)
    return value
  })
  const name = args[0] ?? command

  async function ended(timeoutMs = PATIENCE_MS): Promise<number | string> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    await Promise.race([noted, late])
    clearTimeout(timer)
    if (end !== null) return end
    child.kill('SIGKILL')
    await noted
    throw new Error(`${name} did not end within ${timeoutMs} ms. Its last output:\n${tail()}`)
  }

  function tail(): string {
    return Buffer.concat(chunks).toString('utf8').slice(-4000)
  }

  return {
    pid: child.pid ?? -1,
    child,
    output: () => Buffer.concat(chunks).toString('utf8'),
    hasEnded: () => end !== null,
    kill: (signal) => void child.kill(signal),
    ended,
  }
}
