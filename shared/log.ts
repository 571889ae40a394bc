import { pino, type Logger } from 'pino'

export type { Logger }

/**
 * The process's logger: JSON lines on stdout. Errors are written by name, code and stack only: causes and extra
 * properties of foreign errors can carry prompts and keys (pino's own serializer prints them all).
 */
export function createLog(level: string, process: string): Logger {
  return pino({
    level,
    base: { process },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: serializeError },
    redact: { paths: ['req.headers', 'headers', 'body', 'api_key', 'authorization'], remove: true },
  })
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
