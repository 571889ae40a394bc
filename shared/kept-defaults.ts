import { careOf, isSecret, withoutBundle } from './line-fields.ts'

/**
 * What a retry of a batch starts from, when the batch's own defaults are erased: those that are no credentials and go with
 * none, and the names of those that may have held some.
 */
export type KeptDefaults = { defaults: Record<string, unknown>; erased: string[] }

/** What is kept of a batch's defaults beyond its end. */
export function keptOf(defaults: Record<string, unknown>): KeptDefaults {
  const erased = Object.keys(defaults).filter((name) => isSecret(careOf(name), defaults[name]))
  if (erased.length === 0) return { defaults, erased }
  const kept = Object.entries(withoutBundle(defaults)).filter(([name]) => !erased.includes(name))
  return { defaults: Object.fromEntries(kept), erased }
}
