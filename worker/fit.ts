import type { Tokens } from '../shared/routing/deployment-state.ts'
import type { PlanDeployment } from '../shared/schemas/plan.ts'
import type { Run } from './run.ts'
import { estimateTokens } from '../shared/routing/tokens.ts'

/** What the request is thought to use, in a group: a fallback given as an object may bring a prompt of its own. */
export function tokensOf(run: Run, group: string): Tokens {
  const { plan, bundles, body } = run.claim
  const isOwn = plan.rewriting_groups?.includes(group) === true
  const name = isOwn ? group : ''
  const known = run.tokens.get(name)
  if (known) return known
  const first = isOwn ? plan.deployments.findIndex((deployment) => deployment.group === group) : -1
  const tokens = estimateTokens({ ...body, ...bundles?.[first]?.overrides })
  run.tokens.set(name, tokens)
  return tokens
}

/** Whether a group has a deployment that can hold the prompt, as far as windows are known. */
export function groupFits(run: Run, group: string): boolean {
  return run.claim.plan.deployments.some(
    (deployment) => deployment.group === group && deploymentFits(run, deployment),
  )
}

/** The same for one deployment: by our estimate, and by what a provider has already found too long. */
export function deploymentFits(run: Run, { group, max_input_tokens: size }: PlanDeployment): boolean {
  if (size === undefined) return true
  const { outgrown } = run.progress
  const isSamePrompt = run.claim.plan.rewriting_groups?.includes(group) !== true
  if (isSamePrompt && outgrown !== undefined && size <= outgrown) return false
  return tokensOf(run, group).input <= size
}
