import { suggestion } from './did-you-mean.ts'
import type { Notes } from './notes.ts'
import { invalid } from './notes.ts'
import type { Strategy } from '../schemas/plan.ts'
import type { RoutingGroupInput, StrategyName } from '../schemas/user-config.ts'

/** Some model groups with a strategy of their own; together they can be asked for by the name of the routing group. */
export type RoutingGroup = {
  name: string
  models: readonly string[]
  /** Null: shuffle. */
  strategy: Strategy | null
  /** Model group -> tier, lower first; null: all are one. */
  priorities: ReadonlyMap<string, number> | null
  path: string
}

const NAMES: Readonly<Record<StrategyName, Strategy['name']>> = {
  'simple-shuffle': 'shuffle',
  'least-busy': 'least_busy',
  'usage-based-routing': 'usage',
  'usage-based-routing-v2': 'usage',
  'latency-based-routing': 'latency',
  'cost-based-routing': 'cost',
}

const SAMPLES_MAX = 100
const TTL_S_MAX = 86_400

/**
 * A strategy with its arguments; those that this one does not read are named in `notes`. Null: shuffle.
 * @throws {InvalidRequestError} with the argument's path.
 */
export function readStrategy(
  name: StrategyName | undefined,
  args: Record<string, unknown> | undefined,
  path: string,
  notes: Notes,
): Strategy | null {
  const strategy: Strategy = { name: NAMES[name ?? 'simple-shuffle'] }
  for (const [key, value] of Object.entries(args ?? {})) {
    if (value === null || value === undefined) continue
    const known = strategy.name === 'latency' ? READERS.get(key) : undefined
    if (!known) {
      notes.warnings.push(`\`${path}.${key}\` has no effect on this strategy.`)
    } else if (typeof value !== 'number' || !Number.isFinite(value) || value < known.min) {
      throw invalid(`${path}.${key}`, `must be a number, ${known.min} or more.`)
    } else {
      known.set(strategy, Math.min(value, known.max))
    }
  }
  return strategy.name === 'shuffle' ? null : strategy
}

const READERS = new Map<
  string,
  { min: number; max: number; set: (strategy: Strategy, value: number) => void }
>([
  ['ttl', { min: 1, max: TTL_S_MAX, set: (strategy, value) => (strategy.ttl_s = value) }],
  ['lowest_latency_buffer', { min: 0, max: 1_000, set: (strategy, value) => (strategy.buffer = value) }],
  [
    'max_latency_list_size',
    { min: 1, max: SAMPLES_MAX, set: (strategy, value) => (strategy.samples_max = Math.ceil(value)) },
  ],
])

/**
 * Reads `routing_groups`: no model group in two of them, and with `priority` a place for each.
 * @throws {InvalidRequestError} with the entry's path.
 */
export function readRoutingGroups(
  groups: readonly RoutingGroupInput[],
  path: string,
  notes: Notes,
): RoutingGroup[] {
  const taken = new Map<string, string>()
  const names = new Set<string>()
  return groups.map((group, index) => {
    const at = `${path}[${index}]`
    const { group_name: name, models, routing_strategy: strategy } = group
    if (name === 'default' || names.has(name)) {
      throw invalid(`${at}.group_name`, name === 'default' ? 'is reserved.' : 'is that of another group.')
    }
    names.add(name)
    for (const [position, model] of models.entries()) {
      const other = taken.get(model)
      if (other !== undefined) {
        throw invalid(
          `${at}.models[${position}]`,
          `stands in "${other}" already: a model group has one strategy.`,
        )
      }
      taken.set(model, name)
    }
    const isByPriority = strategy === 'priority'
    return {
      name,
      models,
      strategy: readStrategy(
        isByPriority ? undefined : strategy,
        group.routing_strategy_args,
        `${at}.routing_strategy_args`,
        notes,
      ),
      priorities: isByPriority ? readPriorities(group, at) : null,
      path: at,
    }
  })
}

function readPriorities({ models, model_priorities: given = {} }: RoutingGroupInput, at: string) {
  const path = `${at}.model_priorities`
  const missing = models.find((model) => !Object.hasOwn(given, model))
  if (missing !== undefined) throw invalid(path, `must hold a number for "${missing}", 1 for the first.`)
  const foreign = Object.keys(given).find((name) => !models.includes(name))
  if (foreign !== undefined) {
    throw invalid(`${path}.${foreign}`, `is none of this group's models.${suggestion(foreign, models)}`)
  }
  return new Map(Object.entries(given))
}
