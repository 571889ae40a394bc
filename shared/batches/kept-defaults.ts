import { SealError } from '../errors.ts'
import { careOf, isSecret, withoutSecrets } from './line-fields.ts'
import { parseJsonLossless } from '../lossless-json.ts'
import type { Sealer } from '../seal.ts'

/**
 * What a retry of a batch starts from, when the batch's own defaults are erased: those that are no credentials and go with
 * none, and the names of those that may have held some, or went with one.
 */
export type KeptDefaults = { defaults: Record<string, unknown>; erased: string[] }

/** What is kept of a batch's defaults beyond its end. */
export function keptOf(defaults: Record<string, unknown>): KeptDefaults {
  const erased = Object.keys(defaults).filter((name) => isSecret(careOf(name), defaults[name]))
  if (erased.length === 0) return { defaults, erased }
  const fields = withoutSecrets(defaults)
  const kept = Object.entries(fields).filter(([name]) => !erased.includes(name))
  const alongside = Object.keys(defaults).filter(
    (name) => !Object.hasOwn(fields, name) && !erased.includes(name),
  )
  return { defaults: Object.fromEntries(kept), erased: [...erased, ...alongside] }
}

/** What lies under the lines of a batch, as it was sealed (null: nothing); or why it does not open. */
export function openDefaults(
  sealer: Sealer,
  batch: { tenant: string; id: string },
  sealed: Buffer | null,
): { defaults: Record<string, unknown>; fault: SealError | null } {
  if (!sealed) return { defaults: {}, fault: null }
  try {
    const text = sealer.open({ ...batch, kind: 'batch', field: 'cred' }, sealed).toString()
    return { defaults: parseJsonLossless(text) as Record<string, unknown>, fault: null } // as it was written
  } catch (error) {
    if (!(error instanceof SealError)) throw error
    return { defaults: {}, fault: error }
  }
}
