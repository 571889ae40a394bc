import type { Ranking } from './deployment-state.ts'
import type { Plan, PlanDeployment, Strategy } from '../schemas/plan.ts'

const LATENCY_TTL_S = 3_600

/** The strategy of a group; null: shuffle. */
export function strategyOf({ strategies }: Plan, group: string): Strategy | null {
  if (!strategies) return null
  // A group may be called `constructor`.
  const own = Object.hasOwn(strategies, group) ? strategies[group] : strategies['*']
  return own ?? null
}

/**
 * The members of a group in the order in which they are preferred, as far as that is known without state: shuffled by
 * weight, by price, or evenly where Redis ranks them by their state (see `rankingOf`), which keeps this order among equals.
 * @param random Uniform in [0, 1).
 */
export function orderByStrategy(
  strategy: Strategy | null,
  members: readonly PlanDeployment[],
  random: () => number,
): PlanDeployment[] {
  if (members.length === 1) return [...members]
  switch (strategy?.name ?? 'shuffle') {
    case 'shuffle':
      return shuffleByWeight(members, random)
    case 'cost':
      return shuffle(members, random).toSorted((a, b) => unitPrice(a) - unitPrice(b))
    default:
      return shuffle(members, random)
  }
}

/**
 * By which state the reserving script orders the members of one tier; null: not by state. It does so in the step that
 * takes the place, so that a burst of jobs is spread and does not all meet at the one that was free (docs/decisions/0013).
 */
export function rankingOf(strategy: Strategy | null): Ranking | null {
  switch (strategy?.name) {
    case 'least_busy':
      return { by: 'busy', buffer: 0, ttlMs: 0 }
    case 'usage':
      return { by: 'tokens', buffer: 0, ttlMs: 0 }
    case 'latency': {
      const ttlMs = (strategy.ttl_s ?? LATENCY_TTL_S) * 1_000
      return { by: 'latency', buffer: strategy.buffer ?? 0, ttlMs }
    }
    default:
      return null
  }
}

/**
 * LiteLLM's simple-shuffle over all members (theirs looks only at the first): by `weight` when any has one, else by `rpm`,
 * else by `tpm`, else uniformly. A member without the figure counts as zero and comes last, never first.
 */
export function shuffleByWeight(members: readonly PlanDeployment[], random: () => number): PlanDeployment[] {
  const figure = (['weight', 'rpm', 'tpm'] as const).find((name) =>
    members.some((member) => (member[name] ?? 0) > 0),
  )
  if (!figure) return shuffle(members, random)
  // Exponential sort keys (Efraimidis and Spirakis 2006): the smallest key comes first with probability by weight.
  const keyed = members.map((member) => {
    const weight = member[figure] ?? 0
    return { member, isLast: weight <= 0, key: -Math.log(1 - random()) / (weight > 0 ? weight : 1) }
  })
  return keyed
    .toSorted((a, b) => Number(a.isLast) - Number(b.isLast) || a.key - b.key)
    .map(({ member }) => member)
}

/** Fisher and Yates's, on a copy. */
function shuffle(members: readonly PlanDeployment[], random: () => number): PlanDeployment[] {
  const shuffled: PlanDeployment[] = []
  for (const [at, member] of members.entries()) {
    const place = Math.floor(random() * (at + 1))
    const displaced = shuffled[place]
    if (displaced) shuffled.push(displaced)
    shuffled[place] = member
  }
  return shuffled
}

/** LiteLLM's measure: price of an input token plus price of an output token. Unknown comes last. */
function unitPrice({ prices }: PlanDeployment): number {
  if (prices?.input === undefined && prices?.output === undefined) return Number.MAX_VALUE
  return (prices.input ?? 0) + (prices.output ?? 0)
}
