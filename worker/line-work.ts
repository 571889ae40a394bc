import type { ChunkClaim } from '../shared/batches/batch-claims.ts'
import type { LinePlan } from '../shared/batches/batch-lines.ts'
import { lineId } from '../shared/batches/batch-results.ts'
import type { Progress } from '../shared/jobs/claims.ts'
import type { Plan } from '../shared/schemas/plan.ts'
import type { Work } from './run-record.ts'

/** A line as the loop runs it; a call that was in flight when an earlier worker died counts as a crash. */
export function workOf(
  { batchId, states, meta }: ChunkClaim,
  line: number,
  { plan, bundles, body, endpoint }: LinePlan,
): Work {
  const state = states.get(line)
  const wasCalling = state?.attempts.some(({ outcome }) => outcome === 'in_flight') === true
  return {
    id: lineId(batchId, line),
    plan: meta.durability ? { ...plan, durability: meta.durability } : plan,
    bundles,
    body,
    meta: {
      endpoint: endpoint.path,
      onCrash: 'retry',
      ...(meta.trace === undefined ? {} : { trace: meta.trace }),
    },
    attempts: state?.attempts ?? [],
    attemptsMade: state?.attemptsMade ?? 0,
    progress: stillOf(plan, state?.progress ?? null),
    crashes: (state?.crashes ?? 0) + (wasCalling ? 1 : 0),
  }
}

/** Where a line stands in its plan; null in another one: what a stored credential has been changed to may have other groups. */
function stillOf({ deployments }: Plan, progress: Progress | null): Progress | null {
  const groups = new Set(deployments.map(({ group }) => group))
  const { group, waiting } = progress ?? {}
  return [group, waiting?.group].every((name) => name === undefined || groups.has(name)) ? progress : null
}
