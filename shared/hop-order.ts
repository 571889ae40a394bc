import type { Plan } from './schemas/plan.ts'

/** Why every group so far was left, as far as fallbacks have tables of their own for it. */
export type HopReason = 'failure' | 'context' | 'content'

/**
 * The fallback groups in the order a job would try them when each group fails for this reason: a group's own fallbacks
 * before the rest of the list it came from, none twice, at most `max_fallbacks`.
 * @param fits Whether a group can hold the prompt, as far as is known; one that can't is skipped.
 */
export function hopsOf(plan: Plan, reason: HopReason, fits: (group: string) => boolean): string[] {
  const hops: string[] = []
  let pending: string[] = []
  while (hops.length < plan.max_fallbacks) {
    const names = new Set([...targetsOf(plan, hops.at(-1) ?? plan.group, reason), ...pending])
    const open = [...names].filter((name) => name !== plan.group && !hops.includes(name))
    const next = open.find((name) => fits(name))
    if (next === undefined) break
    hops.push(next)
    pending = open.filter((name) => name !== next)
  }
  return hops
}

function targetsOf(plan: Plan, group: string, reason: HopReason): string[] {
  const own = { context: plan.context_window_fallbacks, content: plan.content_policy_fallbacks }
  const table = (reason === 'failure' ? undefined : own[reason]) ?? plan.fallbacks
  // A group may be called `constructor`.
  return (Object.hasOwn(table, group) ? table[group] : table['*']) ?? []
}
