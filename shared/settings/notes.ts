import { InvalidRequestError } from '../errors.ts'

/** What a caller is told about his config beside the outcome; shown with the job. */
export type Notes = {
  /** What was lowered, ignored or may surprise. */
  warnings: string[]
}

/** A value lowered to its cap, with a warning that names the path; absent stays null. */
export function capped(value: number | undefined, cap: number, path: string, notes: Notes): number | null {
  if (value === undefined) return null
  if (value <= cap) return value
  notes.warnings.push(`\`${path}\` was lowered from ${value} to ${cap}, the most that is allowed.`)
  return cap
}

/** A JSON path as shown to callers: `user_config.model_list[0].litellm_params`. */
export function jsonPath(root: string, segments: readonly PropertyKey[]): string {
  let path = root
  for (const segment of segments) {
    if (typeof segment === 'number') path += `[${segment}]`
    else path += path === '' ? String(segment) : `.${String(segment)}`
  }
  return path
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The error of every wrong value: the path, what is wrong, what to do. */
export function invalid(path: string, what: string): InvalidRequestError {
  return new InvalidRequestError(`\`${path}\` ${what}`, path)
}
