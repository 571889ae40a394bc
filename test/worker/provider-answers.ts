import { readFileSync } from 'node:fs'
import { ErrorClass } from '../../shared/schemas/error-class.ts'

/** An error body in OpenAI's shape. */
export const openaiError = (
  message: string,
  type: string,
  code: string | null = null,
  param: string | null = null,
) => ({
  error: { message, type, param, code },
})

/** The clock of the answers: whatever names a moment names it from here. */
export const ANSWERS_NOW = Date.parse('2026-11-23T12:00:00Z')

export type Fixture = {
  source: string
  status: number
  errorClass: ErrorClass
  isRetryable: boolean
  /** Undefined: whatever it is. */
  code: string | undefined
  retryAfterMs: number | null
  headers: Record<string, string>
  body: string
}

/** The answers of `provider-answers.txt`, which says how it is written. */
export const ANSWERS: Fixture[] = readFileSync(new URL('provider-answers.txt', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n\n')
  .slice(1)
  .map(parseFixture)

function parseFixture(block: string): Fixture {
  const [source = '', expected = '', ...rest] = block.split('\n')
  const [status, errorClass, retried, ...options] = expected.split(' ')
  const { code, wait } = Object.fromEntries(options.map((option) => option.split('=')))
  const headers = rest.filter(isHeader).map((line) => line.split(/: (.*)/s).slice(0, 2))
  return {
    source,
    status: Number(status),
    errorClass: ErrorClass.parse(errorClass),
    isRetryable: retried === 'retried',
    code,
    retryAfterMs: wait === undefined ? null : Number(wait),
    headers: Object.fromEntries(headers),
    body: rest.filter((line) => !isHeader(line)).join('\n'),
  }
}

function isHeader(line: string): boolean {
  return /^[a-z-]+: /.test(line)
}
