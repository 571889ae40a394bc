/** An entry of a model list as far as names go. */
export type Named = {
  /** `model_name`, which may hold `*`. */
  group: string
  /** `litellm_params.model` as written, which may hold `*` where the group does. */
  writtenModel: string
}

/** What a name stands for: the entries, and for each the concrete model. */
export type NameMatch<Entry> = {
  how: 'group' | 'wildcard' | 'model'
  /** The model group as jobs show it: `model_name`, or for a wildcard the name that was asked for. */
  group: string
  /** The wildcard that matched. */
  pattern: string | null
  members: { entry: Entry; writtenModel: string }[]
}

export type Aliases = ReadonlyMap<string, string>

/**
 * Finds what a model name stands for: alias (one level), exact `model_name`, wildcard, then a
 * deployment's own `litellm_params.model`. Wildcards are anchored at both ends; the one with most literal characters
 * wins, then the one with fewer `*`, then the first of the config.
 */
export function createModelNames<Entry extends Named>(entries: readonly Entry[], aliases: Aliases) {
  const groups = new Map<string, Entry[]>()
  for (const entry of entries) {
    const members = groups.get(entry.group)
    if (members) members.push(entry)
    else groups.set(entry.group, [entry])
  }
  const wildcards = [...groups]
    .filter(([name]) => name.includes('*'))
    .toSorted(([left], [right]) => bySpecificity(left, right))
    .map(([pattern, members]) => ({ pattern, pieces: pattern.split('*'), members }))

  function find(asked: string): NameMatch<Entry> | null {
    const name = aliases.get(asked) ?? asked
    return findGroup(name) ?? findWildcard(name) ?? findModel(name)
  }

  function findGroup(name: string): NameMatch<Entry> | null {
    const members = name.includes('*') ? undefined : groups.get(name)
    if (!members) return null
    const concrete = members.map((entry) => ({ entry, writtenModel: entry.writtenModel }))
    return { how: 'group', group: name, pattern: null, members: concrete }
  }

  function findWildcard(name: string): NameMatch<Entry> | null {
    // A `*` in a name that was asked for would stand in the concrete model and match in its turn.
    if (name.includes('*')) return null
    for (const { pattern, pieces, members: entriesOfIt } of wildcards) {
      const captured = matchPieces(pieces, name)
      if (!captured) continue
      const members = entriesOfIt.map((entry) => ({
        entry,
        writtenModel: fillWildcards(entry.writtenModel, captured, name),
      }))
      return { how: 'wildcard', group: name, pattern, members }
    }
    return null
  }

  function findModel(name: string): NameMatch<Entry> | null {
    const found = entries.filter((entry) => entry.writtenModel === name && !name.includes('*'))
    const first = found[0]
    if (!first) return null
    // The whole of one group keeps that group's name, and with it its fallbacks.
    const isWholeGroup = groups.get(first.group)?.length === found.length
    const sameGroup = found.every((entry) => entry.group === first.group)
    const members = found.map((entry) => ({ entry, writtenModel: entry.writtenModel }))
    return { how: 'model', group: isWholeGroup && sameGroup ? first.group : name, pattern: null, members }
  }

  return { find, groupNames: [...groups.keys()] }
}

export type ModelNames<Entry extends Named> = ReturnType<typeof createModelNames<Entry>>

/**
 * What each `*` of a pattern stands for in a name, or null when it does not match from end to end. Pieces are found
 * from left to right, each at its first place: time is linear, whatever a client writes as `model_name`.
 */
export function matchWildcard(pattern: string, name: string): string[] | null {
  return matchPieces(pattern.split('*'), name)
}

function matchPieces(pieces: readonly string[], name: string): string[] | null {
  const first = pieces[0] ?? ''
  const last = pieces.at(-1) ?? ''
  if (pieces.length === 1) return first === name ? [] : null
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return null
  const captured: string[] = []
  const end = name.length - last.length
  let at = first.length
  for (const piece of pieces.slice(1, -1)) {
    const found = name.indexOf(piece, at)
    if (found === -1 || found + piece.length > end) return null
    captured.push(name.slice(at, found))
    at = found + piece.length
  }
  captured.push(name.slice(at, end))
  return captured
}

/** Puts captured pieces in place of a template's `*`; with more pieces than places it is the whole name. */
function fillWildcards(template: string, captured: string[], name: string): string {
  const pieces = template.split('*')
  if (pieces.length === 1) return template
  if (captured.length > pieces.length - 1) return name
  return pieces.map((piece, index) => (index === 0 ? piece : (captured[index - 1] ?? '') + piece)).join('')
}

function bySpecificity(left: string, right: string): number {
  const literals = right.replaceAll('*', '').length - left.replaceAll('*', '').length
  return literals || left.length - right.length
}
