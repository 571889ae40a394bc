import type { z } from 'zod'
import type { Notes } from './notes.ts'
import { invalid, jsonPath } from './notes.ts'
import { refuseReferences } from './refused-keys.ts'
import type { FallbackEntry } from './fallback-tables.ts'
import { readFallbacks } from './fallback-tables.ts'
import { FallbackList, FallbackMaps } from './schemas/user-config.ts'

/** The map form has an effect; the two list forms are checked. */
export function readRequestFallbacks(value: unknown, notes: Notes): FallbackEntry[] | null {
  if (value === undefined) return null
  refuseReferences(value, 'fallbacks')
  const isMapForm = Array.isArray(value) && value.every((item) => isMap(item))
  if (isMapForm) return readFallbacks(parsed(FallbackMaps, value, 'fallbacks'), 'fallbacks')
  parsed(FallbackList, value, 'fallbacks')
  notes.notYetActive.push('fallbacks')
  return null
}

function isMap(item: unknown): boolean {
  return (
    typeof item === 'object' && item !== null && Object.values(item).every((value) => Array.isArray(value))
  )
}

export function parsed<Shape extends z.ZodType>(schema: Shape, value: unknown, path: string): z.infer<Shape> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const isPlain = issue !== undefined && issue.code !== 'invalid_union'
  const advice = isPlain ? `${issue.message}.` : 'must be a list of model groups, or of {"group": [groups]}.'
  throw invalid(jsonPath(path, issue?.path ?? []), advice.charAt(0).toLowerCase() + advice.slice(1))
}
