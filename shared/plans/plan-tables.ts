import type { FallbackEntry } from './fallback-tables.ts'
import type { Group } from './plan-groups.ts'
import type { GivenFallbacks, GivenObject, RequestFallbacks } from './request-fallbacks.ts'

/** What a request gives for the group it asks for: names, and groups made of objects. */
type OwnList = { to: (string | Group)[]; path: string }

/** One table of fallbacks on its way into a plan. */
export type PlanTable = {
  entries: FallbackEntry[]
  /** Instead of what the table has for the group that was asked for. */
  ofStart: OwnList | null
}

/** The tables of a plan. Null: nobody set it, so such failures use `fallbacks`. */
export type PlanTables = {
  fallbacks: PlanTable
  contextWindow: PlanTable | null
  contentPolicy: PlanTable | null
}

type ConfigTables = {
  fallbacks: FallbackEntry[]
  contextWindowFallbacks: FallbackEntry[] | null
  contentPolicyFallbacks: FallbackEntry[] | null
}

/**
 * The tables of a config with what the request says on top: its maps stand instead of the config's, its lists are for
 * the group that was asked for, and the config's stay for the groups behind.
 * @param hopOf Makes a group of a fallback that is an object.
 */
export function planTables(
  config: ConfigTables,
  given: RequestFallbacks,
  isOff: boolean,
  hopOf: (object: GivenObject) => Group,
): PlanTables {
  const listOf = (one: GivenFallbacks | null): OwnList | null => {
    if (isOff || one?.kind !== 'list') return null
    return {
      path: one.path,
      to: one.to.map((target) => (typeof target === 'string' ? target : hopOf(target))),
    }
  }
  const ofAny = listOf(given.any)

  function special(entries: FallbackEntry[] | null, one: GivenFallbacks | null): PlanTable | null {
    if (entries === null && one === null) return null
    if (isOff) return { entries: [], ofStart: null }
    // A list for any failure is for these as well, as in LiteLLM, unless the request has one for them.
    if (one === null) return { entries: entries ?? [], ofStart: ofAny }
    return { entries: one.kind === 'map' ? one.entries : (entries ?? []), ofStart: listOf(one) }
  }

  const entries = given.any?.kind === 'map' ? given.any.entries : config.fallbacks
  return {
    fallbacks: { entries: isOff ? [] : entries, ofStart: ofAny },
    contextWindow: special(config.contextWindowFallbacks, given.contextWindow),
    contentPolicy: special(config.contentPolicyFallbacks, given.contentPolicy),
  }
}

/** The names that a request's fallbacks hold, as entries to be checked like a config's. */
export function namesGiven(given: RequestFallbacks): FallbackEntry[] {
  return [given.any, given.contextWindow, given.contentPolicy].flatMap((one) => {
    if (one === null) return []
    if (one.kind === 'map') return one.entries
    return one.to.flatMap((name, index) =>
      typeof name === 'string' ? [{ from: '*', to: [name], path: `${one.path}[${index}]` }] : [],
    )
  })
}
