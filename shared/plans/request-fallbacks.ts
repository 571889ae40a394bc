import type { z } from 'zod'
import type { FallbackEntry } from './fallback-tables.ts'
import { readFallbacks } from './fallback-tables.ts'
import { invalid, isObject, jsonPath } from '../settings/notes.ts'
import { refuseReferences } from '../settings/refused-keys.ts'
import { FallbackList, FallbackMaps } from '../schemas/user-config.ts'

/** Most fallbacks of one request that are given as objects. */
const OBJECTS_MAX = 20

/** A fallback that is a request of its own: what it says wins over the request, for its call alone. */
export type GivenObject = { model: string; fields: Record<string, unknown>; path: string }

/** One of the lists of fallbacks that a request may give. */
export type GivenFallbacks =
  /** As in a config, and instead of the config's. */
  | { kind: 'map'; entries: FallbackEntry[] }
  /** For the group that was asked for: names, or objects. */
  | { kind: 'list'; to: (string | GivenObject)[]; path: string }

/** What a request says about fallbacks. Null: not given. */
export type RequestFallbacks = {
  any: GivenFallbacks | null
  contextWindow: GivenFallbacks | null
  contentPolicy: GivenFallbacks | null
}

/**
 * Reads the lists of fallbacks of a request, in any of LiteLLM's three forms; the names in them are not looked up yet.
 * @throws {InvalidRequestError} with the entry's path.
 */
export function readRequestFallbacks(gateway: Record<string, unknown>): RequestFallbacks {
  const given = {
    any: readGiven(gateway, 'fallbacks'),
    contextWindow: readGiven(gateway, 'context_window_fallbacks'),
    contentPolicy: readGiven(gateway, 'content_policy_fallbacks'),
  }
  const lists = Object.values(given).flatMap((one) => (one?.kind === 'list' ? one.to : []))
  const objects = lists.filter((one) => typeof one !== 'string')
  const last = objects.at(-1)
  if (last && objects.length > OBJECTS_MAX) {
    throw invalid(last.path, `is one too many: at most ${OBJECTS_MAX} fallbacks may be objects.`)
  }
  return given
}

function readGiven(gateway: Record<string, unknown>, path: string): GivenFallbacks | null {
  const value = gateway[path]
  if (value === undefined) return null
  refuseReferences(value, path)
  if (!Array.isArray(value)) throw invalid(path, 'must be a list.')
  const forms = new Set(value.map((item: unknown) => formOf(item)))
  if (forms.size > 1) {
    const what = 'mixes names, objects and {"group": [groups]}. A list is of one of these forms.'
    throw invalid(path, what)
  }
  // Nothing of any form: no fallbacks at all, also where the config has some.
  if (forms.size === 0 || forms.has('map')) {
    return { kind: 'map', entries: readFallbacks(parsed(FallbackMaps, value, path), path) }
  }
  const [Names, Objects] = FallbackList.options
  if (forms.has('name')) return { kind: 'list', to: parsed(Names, value, path), path }
  const unnamed = value.findIndex((item) => !isObject(item) || typeof item['model'] !== 'string')
  if (unnamed !== -1) {
    const what = 'is needed in a fallback that is an object; {"group": [groups]} takes lists only.'
    throw invalid(`${path}[${unnamed}].model`, what)
  }
  const to = parsed(Objects, value, path).map((fields, index) => ({
    model: fields.model,
    fields,
    path: `${path}[${index}]`,
  }))
  return { kind: 'list', to, path }
}

function formOf(item: unknown): 'name' | 'map' | 'object' {
  if (!isObject(item)) return 'name'
  const values = Object.values(item)
  return values.length > 0 && values.every((value) => Array.isArray(value)) ? 'map' : 'object'
}

function parsed<Shape extends z.ZodType>(schema: Shape, value: unknown, path: string): z.infer<Shape> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const advice = `${issue?.message ?? 'is not valid'}.`
  throw invalid(jsonPath(path, issue?.path ?? []), advice.charAt(0).toLowerCase() + advice.slice(1))
}
