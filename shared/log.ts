import { pino, type Logger } from 'pino'

export type { Logger }

// Under load there is a line for each call: a write for each of them costs as much again as the lines.
const TOGETHER_CHARACTERS = 16 * 1024
const TOGETHER_MS = 50
const WARN = 40

/**
 * The process's logger: JSON lines on stdout. Errors are written by name, code and stack only: causes and extra
 * properties of foreign errors can carry prompts and keys (pino's own serializer prints them all). Lines below `warn` are
 * written together, within 50 ms; whoever ends the process calls `flush`.
 */
export function createLog(level: string, process: string): Logger {
  const options = {
    level,
    base: { process },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: serializeError },
    redact: { paths: ['req.headers', 'headers', 'body', 'api_key', 'authorization'], remove: true },
  }
  return pino(options, together(pino.destination({ sync: true })))
}

/** Writes several lines at once. */
function together(out: { write: (text: string) => unknown }) {
  let lines = ''
  let timer: NodeJS.Timeout | null = null

  function flush(): void {
    if (timer) clearTimeout(timer)
    timer = null
    const written = lines
    lines = ''
    if (written !== '') out.write(written)
  }

  return {
    // Has pino note the level of a line before it is written.
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 0,
    write(line: string): void {
      lines += line
      if (this.lastLevel >= WARN || lines.length >= TOGETHER_CHARACTERS) flush()
      else timer ??= setTimeout(flush, TOGETHER_MS).unref()
    },
    flush,
  }
}

function serializeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: typeof error }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const frames = (error.stack ?? '').split('\n').filter((line) => line.trimStart().startsWith('at '))
  return {
    name: error.name,
    code,
    message: error.message.slice(0, 300),
    stack: frames.slice(0, 8).join('\n'),
  }
}
