import { invalid } from './notes.ts'
import { modelData } from '../routing/prices.ts'
import type { RoutingGroup } from './routing-groups.ts'

/** An entry of a model list as far as names go. */
export type Named = {
  /** `model_name`, which may hold `*`. */
  group: string
  /** `litellm_params.model` as written, which may hold `*` where the group does. */
  writtenModel: string
  /** `model_info.id`. */
  infoId?: string | null
}

/** A deployment that a name stands for, and its concrete model. */
export type NamedMember<Entry> = {
  entry: Entry
  writtenModel: string
  /** Its tier in a routing group that goes by priority, instead of the deployment's own. */
  order?: number
}

/** What a name stands for: the entries, and for each the concrete model. */
export type NameMatch<Entry> = {
  how: 'group' | 'routing_group' | 'wildcard' | 'model' | 'id'
  /** The model group as jobs show it: `model_name`, or for a wildcard the name that was asked for. */
  group: string
  /** The wildcard that matched. */
  pattern: string | null
  members: NamedMember<Entry>[]
}

export type Aliases = ReadonlyMap<string, string>

type Routing = readonly Pick<RoutingGroup, 'name' | 'models' | 'priorities' | 'path'>[]

/**
 * Finds what a model name stands for: alias (one level), exact `model_name`, routing group, wildcard, a deployment's own
 * `litellm_params.model`, its `model_info.id`, then a wildcard that takes it as a model of OpenAI's. Wildcards are anchored at both ends; the one with most literal
 * characters wins, then the one with fewer `*`, then the first of the config.
 * @throws {InvalidRequestError} when a routing group has the name of a model group, or stands in another.
 */
export function createModelNames<Entry extends Named>(
  entries: readonly Entry[],
  aliases: Aliases,
  routingGroups: Routing = [],
) {
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
  requireOwnNames(routingGroups, groups, aliases)
  const routing = new Map(routingGroups.map((group) => [group.name, group]))

  function find(asked: string): NameMatch<Entry> | null {
    const name = aliases.get(asked) ?? asked
    const named = findGroup(name) ?? findRouting(name) ?? findWildcard(name)
    return named ?? findModel(name) ?? findId(name) ?? findBare(name)
  }

  function findGroup(name: string): NameMatch<Entry> | null {
    const members = name.includes('*') ? undefined : groups.get(name)
    if (!members) return null
    return { how: 'group', group: name, pattern: null, members: asWritten(members) }
  }

  /** The deployments of all its models; one that several of them stand for has the first one's tier. */
  function findRouting(name: string): NameMatch<Entry> | null {
    const group = routing.get(name)
    if (!group) return null
    const members = new Map<string, NamedMember<Entry>>()
    for (const model of byPriority(group)) {
      const order = group.priorities?.get(model)
      const target = aliases.get(model) ?? model
      const match = findGroup(target) ?? findWildcard(target) ?? findModel(target)
      for (const member of match?.members ?? []) {
        const key = `${entries.indexOf(member.entry)} ${member.writtenModel}`
        if (!members.has(key)) members.set(key, order === undefined ? member : { ...member, order })
      }
    }
    return { how: 'routing_group', group: name, pattern: null, members: [...members.values()] }
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

  /** By `litellm_params.model` alone, as `specific_deployment` asks for it. */
  function findModel(name: string): NameMatch<Entry> | null {
    return single(
      'model',
      name,
      entries.filter((entry) => entry.writtenModel === name),
    )
  }

  /**
   * A name without a provider is OpenAI's, and so one that an `openai/*` is for. Only that of a model that is known: a misspelt
   * name stays nobody's.
   */
  function findBare(name: string): NameMatch<Entry> | null {
    if (name.includes('/') || modelData('openai', name) === null) return null
    const match = findWildcard(`openai/${name}`)
    return match && { ...match, how: 'model' }
  }

  function findId(name: string): NameMatch<Entry> | null {
    return single(
      'id',
      name,
      entries.filter((entry) => entry.infoId === name),
    )
  }

  /** Deployments that were asked for apart from their group; one with a `*` in its model has no concrete model. */
  function single(
    how: NameMatch<Entry>['how'],
    name: string,
    asked: readonly Entry[],
  ): NameMatch<Entry> | null {
    const found = asked.filter((entry) => !entry.writtenModel.includes('*'))
    const first = found[0]
    if (!first) return null
    // The whole of one group keeps that group's name, and with it its fallbacks.
    const isWholeGroup = groups.get(first.group)?.length === found.length
    const sameGroup = found.every((entry) => entry.group === first.group)
    const group = isWholeGroup && sameGroup ? first.group : name
    return { how, group, pattern: null, members: asWritten(found) }
  }

  /**
   * By the gateway's own deployment id, as `x-litellm-model-id` shows it: for a name that is nothing else.
   * @param idOf Called only for a name that has the form of such an id.
   */
  function findOwnId(name: string, idOf: (entry: Entry) => string): NameMatch<Entry> | null {
    if (!OWN_ID.test(name)) return null
    return single(
      'id',
      name,
      entries.filter((entry) => idOf(entry) === name),
    )
  }

  return { find, findModel, findOwnId, groupNames: [...groups.keys()] }
}

export type ModelNames<Entry extends Named> = ReturnType<typeof createModelNames<Entry>>

/** Form of the ids that `deploymentIds` makes. */
const OWN_ID = /^[\w-]{22}$/

function asWritten<Entry extends Named>(entries: readonly Entry[]): NamedMember<Entry>[] {
  return entries.map((entry) => ({ entry, writtenModel: entry.writtenModel }))
}

function byPriority({ models, priorities }: Pick<RoutingGroup, 'models' | 'priorities'>): readonly string[] {
  if (!priorities) return models
  return models.toSorted((left, right) => (priorities.get(left) ?? 0) - (priorities.get(right) ?? 0))
}

/** A routing group is called by its name: that name can't be another's, and it holds model groups only. */
function requireOwnNames(routing: Routing, groups: ReadonlyMap<string, unknown>, aliases: Aliases): void {
  const names = new Set(routing.map(({ name }) => name))
  for (const { name, models, path } of routing) {
    if (groups.has(name) || aliases.has(name)) {
      const whose = groups.has(name) ? 'a `model_name`' : 'an alias'
      throw invalid(`${path}.group_name`, `is ${whose} of this config, too. Choose another.`)
    }
    const nested = models.findIndex((model) => names.has(aliases.get(model) ?? model))
    if (nested === -1) continue
    throw invalid(`${path}.models[${nested}]`, 'is a routing group. List its models instead.')
  }
}

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
