import { suggestion } from '../settings/did-you-mean.ts'
import { invalid } from '../settings/notes.ts'

/** `group -> other groups`, as written; `*` stands for every group without an entry of its own. */
export type FallbackEntry = { from: string; to: string[]; path: string }

/** Every entry of a config's tables. */
export function fallbacksOf(config: {
  fallbacks: readonly FallbackEntry[]
  contextWindowFallbacks: readonly FallbackEntry[] | null
  contentPolicyFallbacks: readonly FallbackEntry[] | null
}): FallbackEntry[] {
  return [
    ...config.fallbacks,
    ...(config.contextWindowFallbacks ?? []),
    ...(config.contentPolicyFallbacks ?? []),
  ]
}

/** Entries of the map form, each with its JSON path. */
export function readFallbacks(maps: Record<string, string[]>[], path: string): FallbackEntry[] {
  return maps.flatMap((map, index) =>
    Object.entries(map).map(([from, to]) => ({ from, to, path: `${path}[${index}].${from}` })),
  )
}

/**
 * The fallbacks of a group that goes by some names (as asked, as configured, the wildcard): the first name with
 * an entry of its own (first one wins), else without its provider prefix (last one wins), else null, which means `*`.
 */
export function ownFallbacks(
  entries: readonly FallbackEntry[],
  names: readonly string[],
): FallbackEntry | null {
  const exact = exactFallbacks(entries, names)
  if (exact) return exact
  for (const name of names) {
    const bare = name.slice(name.indexOf('/') + 1)
    const stripped = bare === name ? undefined : entries.findLast(({ from }) => from === bare)
    if (stripped) return stripped
  }
  return null
}

/** The same by exact names only: of prompts that do not fit, and of refused content. */
export function exactFallbacks(
  entries: readonly FallbackEntry[],
  names: readonly string[],
): FallbackEntry | null {
  for (const name of names) {
    const exact = entries.find(({ from }) => from === name)
    if (exact) return exact
  }
  return null
}

/** What `*` stands for: the last entry wins, so `default_fallbacks` does. */
export function defaultFallbacks(entries: readonly FallbackEntry[]): FallbackEntry | null {
  return entries.findLast(({ from, to }) => from === '*' && to.length > 0) ?? null
}

/**
 * Refuses fallbacks that name no group: they would be found out only when they are needed.
 * @throws {InvalidRequestError} with the entry's path.
 */
export function requireKnownGroups(entries: readonly FallbackEntry[], names: KnownNames): void {
  for (const entry of entries) {
    const unknown = findUnknownGroup(entry, names)
    if (unknown) throw invalid(unknown.path, unknown.what)
  }
}

type KnownNames = { find: (name: string) => unknown; groupNames: string[] }

/** A name that must be a group's, as an entry to be checked like fallbacks. */
export function named(group: string, path: string): FallbackEntry {
  return { from: group, to: [], path }
}

type Unknown = { path: string; what: string }

/** Fallback entries that name no group, each with what is wrong. */
export function findUnknownGroups(entries: readonly FallbackEntry[], names: KnownNames): Unknown[] {
  return entries.flatMap((entry) => findUnknownGroup(entry, names) ?? [])
}

function findUnknownGroup({ from, to, path }: FallbackEntry, names: KnownNames): Unknown | null {
  const isKnownFrom =
    names.groupNames.includes(from) ||
    from === '*' ||
    names.find(from) !== null ||
    endsAnyGroup(from, names.groupNames)
  const unknown = isKnownFrom ? to.find((name) => names.find(name) === null) : from
  if (unknown === undefined) return null
  const advice = suggestion(unknown, names.groupNames)
  return { path, what: `names "${unknown.slice(0, 64)}", which is no model group of this config.${advice}` }
}

function endsAnyGroup(name: string, groups: string[]): boolean {
  return groups.some((group) => group.slice(group.indexOf('/') + 1) === name)
}
