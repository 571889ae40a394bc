import type { FastifyInstance } from 'fastify'
import { InvalidRequestError } from '../../shared/errors.ts'
import { findJsonError } from '../json-position.ts'

const DEPTH_MAX = 100

/**
 * Takes JSON bodies and nothing else. An empty body is no body (Python's SDK sends the content type with every
 * POST), malformed JSON is a 400 with its position, and `__proto__` keys and bottomless nesting are refused.
 */
export function addJsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, text, done) => {
    if (text.length === 0) return done(null, undefined)
    try {
      return done(null, parseJson(text.toString()))
    } catch (error) {
      return done(error as Error, undefined)
    }
  })
}

function parseJson(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw malformed(text, cause)
  }
  checkValue(value, 0)
  return value
}

// V8's message quotes the body, which may hold a key: only the position is told.
function malformed(text: string, cause: unknown): InvalidRequestError {
  const position = findJsonError(text) ?? text.length
  const before = text.slice(0, position)
  const line = before.split('\n').length
  const column = position - before.lastIndexOf('\n')
  const where = position === text.length ? 'it ends too early, at' : 'the first error is at'
  const message = `The body is not valid JSON: ${where} position ${position} (line ${line}, column ${column}).`
  const error = new InvalidRequestError(message, null, 'invalid_json')
  error.cause = cause
  return error
}

function checkValue(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) return
  if (depth > DEPTH_MAX) {
    throw new InvalidRequestError(
      `The body is nested more than ${DEPTH_MAX} levels deep.`,
      null,
      'invalid_json',
    )
  }
  if (Object.hasOwn(value, '__proto__')) {
    throw new InvalidRequestError('The body holds a key "__proto__", which is refused.', null, 'invalid_json')
  }
  for (const item of Object.values(value)) checkValue(item, depth + 1)
}
