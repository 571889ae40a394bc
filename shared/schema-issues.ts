import type { z } from 'zod'
import { InvalidRequestError } from './errors.ts'

/**
 * Says of the first thing that a schema refuses where it is and what is wrong with it.
 * @param data what was checked, to tell a missing field from a wrong one.
 * @param place where that stood in what was sent.
 */
export function describeIssue(
  error: z.ZodError,
  data: unknown,
  place: readonly PropertyKey[] = [],
): InvalidRequestError {
  const issue = error.issues[0]
  if (!issue) return new InvalidRequestError('The request is not valid.')
  if (issue.code === 'unrecognized_keys') {
    const param = formatPath([...place, ...issue.path, issue.keys[0] ?? ''])
    return new InvalidRequestError(`Unknown field \`${param}\`.`, param, 'unknown_parameter')
  }
  const param = formatPath([...place, ...issue.path])
  if (issue.path.length === 0) {
    return new InvalidRequestError('Send a JSON object as the body.', null, 'invalid_body')
  }
  if (valueAt(data, issue.path) === undefined) {
    return new InvalidRequestError(`\`${param}\` is required.`, param, 'missing_required_parameter')
  }
  return new InvalidRequestError(`\`${param}\` is not valid. ${issue.message}.`, param, 'invalid_parameter')
}

/** A JSON path as people write it: `messages[0].content`, `metadata["my key"]`. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const part of path) {
    const name = String(part)
    if (typeof part === 'number') text += `[${part}]`
    else if (/^[A-Za-z_$][\w$-]*$/.test(name)) text += text === '' ? name : `.${name}`
    else text += `[${JSON.stringify(name)}]`
  }
  return text
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  let value = data
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<PropertyKey, unknown>)[part] // a path that zod walked through this very value
  }
  return value
}
