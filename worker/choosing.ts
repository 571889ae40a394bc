import type { Candidate } from '../shared/routing/deployment-state.ts'
import { deploymentFits } from './fit.ts'
import { orderCandidates, type LeaveReason } from '../shared/routing/router.ts'
import type { Run } from './run.ts'

/** Whom to call next, best first; or why the group has nobody. */
export type Choice =
  | { kind: 'candidates'; candidates: [Candidate, ...Candidate[]] }
  | { kind: 'nobody'; reason: LeaveReason }

/**
 * The current group's deployments, best first. Those that can't hold the prompt are left out where the config asks for that.
 * While a back-off is due, those that have not failed in this job come alone: they need not wait for it.
 * @param random Uniform in [0, 1).
 */
export function choose(run: Run, random: () => number): Choice {
  const { progress, claim, backoffMs } = run
  const alive = orderCandidates(claim.plan, progress, random)
  const fitting =
    claim.plan.checks_context === true
      ? alive.filter(({ deployment }) => deploymentFits(run, deployment))
      : alive
  const fresh =
    backoffMs === null ? [] : fitting.filter(({ deployment }) => !progress.failed.includes(deployment.id))
  const [first, ...rest] = fresh.length > 0 ? fresh : fitting
  if (first) return { kind: 'candidates', candidates: [first, ...rest] }
  return { kind: 'nobody', reason: alive.length > 0 ? 'context' : 'failure' }
}
