import type { PlanRequest, ResolvedPlan } from '../plans/plan.ts'
import { splitRequest, type SplitRequest } from '../settings/request-settings.ts'
import { LOCATION_FIELDS } from '../schemas/field-names.ts'

/** What is remembered of a line's plan: all but the body, which is each line's own. */
type Remembered = {
  shared: Omit<ResolvedPlan, 'body'>
  /** Fields of the body that went into the plan. */
  taken: string[]
}

/** By what lies under the lines of a batch, so that a plan with its credentials is never found for another batch. */
export type LinePlans = WeakMap<Record<string, unknown>, Map<string, Remembered>>

const PLANS_MAX = 1_000
/** Of all plans of one batch. A client may bring a hundred for each line, and each of them is a kilobyte. */
const DEPLOYMENTS_MAX = 5_000
const KEY_CHARACTERS_MAX = 4_096
/** What a plan goes by of the part of a request that is the provider's. */
const BODY_FIELDS = ['stream', 'stream_options', ...LOCATION_FIELDS]

/** Makes a memory of plans; one is enough for a process. */
export function createLinePlans(): LinePlans {
  return new WeakMap()
}

/**
 * The plan of a request, resolved once for all that differ in nothing a plan goes by. For requests whose credentials are
 * those of `under`, the fields of their batch.
 */
export function recallPlan(
  plans: LinePlans,
  request: PlanRequest,
  under: Record<string, unknown>,
  resolve: () => ResolvedPlan,
): ResolvedPlan {
  const split = splitRequest(request.body)
  const key = keyOf(request, split, under)
  if (key.length > KEY_CHARACTERS_MAX) return resolve()
  const known = plans.get(under) ?? new Map<string, Remembered>()
  const found = known.get(key)
  if (found) return { ...copyOf(found.shared), body: without(split.body, found.taken) }
  const { body, ...shared } = resolve()
  if (known.size >= Math.min(PLANS_MAX, DEPLOYMENTS_MAX / shared.plan.deployments.length)) known.clear()
  known.set(key, { shared, taken: Object.keys(split.body).filter((name) => !Object.hasOwn(body, name)) })
  plans.set(under, known)
  return { ...copyOf(shared), body }
}

// As far as whoever takes a plan changes it.
function copyOf({ plan, warnings, ...rest }: Remembered['shared']): Remembered['shared'] {
  return { ...rest, plan: { ...plan }, warnings: [...warnings] }
}

function keyOf(
  { tenant, customer, endpoint, body }: PlanRequest,
  split: SplitRequest,
  under: Record<string, unknown>,
): string {
  const settings = Object.entries(split.gateway).filter(([name, value]) => value !== under[name])
  const places = BODY_FIELDS.map((name) => split.body[name] ?? null)
  return JSON.stringify([tenant, customer, endpoint, body['model'], settings, places])
}

function without(body: Record<string, unknown>, names: readonly string[]): Record<string, unknown> {
  if (names.length === 0) return body
  return Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name)))
}
