import type { Filter } from './deployment-filters.ts'
import type { Deployment } from '../settings/deployments.ts'
import { concreteBundle } from '../settings/deployments.ts'
import type { ModelNames, NameMatch } from '../settings/model-names.ts'
import type { CredentialBundle } from '../schemas/plan.ts'

/**
 * What a deployment is called with. `own` goes with the job; `identity` is who is called, for ids, and is the operator's
 * deployment when the worker adds his secrets (`isCompletedByOperator`).
 */
export type Planned = { own: CredentialBundle; identity: CredentialBundle; isCompletedByOperator: boolean }

/** A deployment of a group, and what it is called with. */
export type Member = Planned & {
  entry: Deployment
  /** Of a group that stands for several: the first tier of its pick. */
  order: number | undefined
}

/** What makes a group of a fallback that is an object differ from the one it was made of. */
export type Hop = {
  /** The name that is shown for its own, which is made up. */
  label: string
  /** It brings a prompt, or what shapes the answer. */
  isRewriting: boolean
  timeoutS: number | null
  streamTimeoutS: number | null
}

/** A model group on its way into a plan. */
export type Group = {
  name: string
  ownerId: string
  /** The names its fallbacks and settings may stand under, first one wins. Null: it has no fallbacks, not even those of `*`. */
  keys: string[] | null
  /** Those that may be called; made when the group is first reached. */
  members: () => Member[]
  hop: Hop | null
}

/** A list of deployments that groups are looked up in. */
export type GroupSource<Entry extends Deployment> = {
  ownerId: string
  names: ModelNames<Entry>
  filter: Filter
  /** The bundle a deployment is called with; null leaves it out. */
  bundleFor: (entry: Entry, bundle: CredentialBundle) => Planned | null
}

/** Groups of a list, by name. */
export function createGroups<Entry extends Deployment>(source: GroupSource<Entry>) {
  const { ownerId, names, filter, bundleFor } = source

  /** @param asked How the request names it: an alias may have fallbacks of its own. */
  function of(match: NameMatch<Entry>, asked: string = match.group): Group {
    const { group: name, pattern } = match
    const keys = [...new Set([asked, name, ...(pattern === null ? [] : [pattern])])]
    return { name, ownerId, keys, members: () => membersOf(match), hop: null }
  }

  function membersOf(match: NameMatch<Entry>): Member[] {
    return filter.choose(match.members).flatMap(({ entry, writtenModel, order }) => {
      const concrete = concreteBundle(entry, writtenModel)
      const planned = concrete && bundleFor(entry, concrete)
      return planned ? [{ ...planned, entry, order }] : []
    })
  }

  /**
   * The group that a request starts with.
   * @throws what the filter says when it leaves nobody.
   */
  function start(match: NameMatch<Entry>, asked: string): Group {
    const { members } = match
    if (members.length > 0 && filter.choose(members).length === 0) throw filter.refusal(members)
    return of(match, asked)
  }

  function find(name: string): Group | null {
    const match = names.find(name)
    return match && of(match)
  }

  return { find, of, start }
}
