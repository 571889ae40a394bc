import type { Redis } from 'ioredis'
import { ownerOf } from './cooldown-rule.ts'
import type { Leases } from './deployment-leases.ts'
import type { Candidate, Clock, Grant, Ranking, Reservation, Tokens } from './deployment-state.ts'
import { createGather } from '../gather.ts'
import type { Keys } from '../keys.ts'
import type { Plan, PlanDeployment } from '../schemas/plan.ts'
import { createScript, type ScriptArgument } from '../scripts.ts'

// A probe that is never heard of again (its worker died) stops counting as one after this long.
const PROBE_MS = 60_000
// The window of limits is one part in a hundred longer than the providers'; half of that is for a kept place's job that is late.
const FRESH_PART = 0.005
const GATHERED_MAX = 100

/** What is asked with a reservation. */
export type ReserveRequest = {
  /** Id of the job. */
  holder: string
  /** As estimated. */
  tokens: Tokens
  /** A deployment that already holds a place for this job, and when. */
  slot: { id: string; at: number } | null
  /** When nothing is free, keep a place at the first that will be, or stand in line there. */
  keepsPlace: boolean
  ranking: Ranking | null
}

/** What is gathered of calls that want the same deployment first. */
type Wanted = { ownerId: string; deployment: PlanDeployment; tokens: Tokens }

/**
 * The one step before a call, as one script: see `reserve-deployment.lua`. Calls of one turn of the event loop that want the
 * same deployment take it together where nothing stands in their way: see `take-places.lua`.
 */
export function createReserve(
  deps: { redis: Redis; keys: Keys; windowMs: number; leaseMs: number; now: Clock },
  leases: Leases,
) {
  const { redis, keys, windowMs, leaseMs, now } = deps
  const reserveDeployment = createScript(redis, 'reserve-deployment')
  const takePlaces = createScript(redis, 'take-places')
  const lengths = `${windowMs} ${PROBE_MS} ${leaseMs}`

  /**
   * Takes the first of `candidates` (at least one, all of one owner) that is free now: tier by tier, within a tier by the
   * ranking, else in the order given.
   */
  async function reserve(
    plan: Plan,
    candidates: readonly Candidate[],
    request: ReserveRequest,
  ): Promise<Reservation> {
    const sorted = candidates.toSorted((a, b) => a.tier - b.tier)
    const first = sorted[0]?.deployment
    const ownerId = ownerOf(plan, first)
    if (first && mayTakeWithOthers(candidates, request)) {
      const wanted = { ownerId, deployment: first, tokens: request.tokens }
      const grant = await takeTogether(`${ownerId} ${first.id} ${limitsOf(first).join(' ')}`, wanted)
      if (grant) return { kind: 'go', grant }
    }
    return reserveAlone(ownerId, sorted, request)
  }

  const takeTogether = createGather(
    async (_key: string, wanted: readonly Wanted[]): Promise<(Grant | null)[]> => {
      const [first] = wanted
      // What one call alone asks is one script in any case: the one that has an answer to everything.
      if (!first || wanted.length === 1) return [null]
      const { ownerId, deployment } = first
      const freshUntil = performance.now() + windowMs * FRESH_PART
      const reply = await takePlaces(keysOf(ownerId, deployment).slice(0, 3), [
        now(),
        windowMs,
        ...limitsOf(deployment),
        ...wanted.flatMap(({ tokens: { input, output } }) => [input, output]),
      ])
      const [taken, at] = reply as [number, number] // see the script
      const known = at > 0 ? { freshUntil } : {}
      return wanted.map(({ deployment: own, tokens }, index) => {
        if (index >= taken) return null
        const booked = at > 0 ? tokens : { input: 0, output: 0 }
        return { deployment: own, bookedAt: at, isProbe: false, tokens: booked, holder: null, ...known }
      })
    },
    GATHERED_MAX,
  )

  async function reserveAlone(
    ownerId: string,
    sorted: readonly Candidate[],
    request: ReserveRequest,
  ): Promise<Reservation> {
    const { holder, tokens } = request
    const mayWait = request.keepsPlace && sorted.some(({ deployment }) => deployment.max_parallel)
    if (mayWait) leases.expect(holder)
    const freshUntil = performance.now() + windowMs * FRESH_PART
    const reply = await reserveDeployment(
      sorted.flatMap(({ deployment }) => keysOf(ownerId, deployment)),
      [
        now(),
        lengths,
        `${tokens.input} ${tokens.output}`,
        holder,
        request.keepsPlace ? '1' : '0',
        ...specsOf(sorted, request),
      ],
    )
    const [kind, index, at, fourth, fifth, sixth, last] = reply as ReserveReply
    const named = (position: number) => {
      const deployment = sorted[position - 1]?.deployment
      if (!deployment) throw new Error('reserve-deployment named a candidate that is not there')
      return deployment
    }
    const deployment = named(index)
    if (kind.toString() === 'go') {
      if (mayWait) leases.forget(holder)
      tellHanded(ownerId, named, sixth as (number | Buffer)[]) // see the script
      if (fifth === 1) leases.hold(ownerId, deployment.id, holder)
      const booked = at > 0 ? tokens : { input: 0, output: 0 }
      const grant = { deployment, bookedAt: at, isProbe: fourth === 1, tokens: booked }
      const known = at > 0 ? { freshUntil } : {}
      return { kind: 'go', grant: { ...grant, ...known, holder: fifth === 1 ? holder : null } }
    }
    const why = String(fourth) as 'cooldown' | 'limit' | 'busy' // see the script
    const isNext = why === 'busy' && sixth === 1
    // Whoever stands in line may be handed a place while it is on its way to be parked.
    if (mayWait && why !== 'busy') leases.forget(holder)
    tellHanded(ownerId, named, last)
    return { kind: 'wait', deployment, at, why, isNext, now: fifth }
  }

  // Leases that ran out make room for those in line; whoever finds that tells them.
  function tellHanded(
    ownerId: string,
    named: (position: number) => PlanDeployment,
    flat: readonly (number | Buffer)[],
  ): void {
    for (let at = 0; at < flat.length; at += 2) {
      void leases.tell(ownerId, named(Number(flat[at])).id, [String(flat[at + 1])])
    }
  }

  function keysOf(ownerId: string, { id, key_id }: PlanDeployment): string[] {
    return [
      keys.deployment(ownerId, id),
      keys.credentialPause(ownerId, key_id),
      keys.usageLog(ownerId, id),
      keys.flight(ownerId, id),
      keys.line(ownerId, id),
    ]
  }

  return reserve
}

/** See the script: where a `go` has four figures, a `wait` has five. */
type ReserveReply = [
  kind: Buffer,
  index: number,
  at: number,
  fourth: number | Buffer,
  fifth: number,
  sixth: number | (number | Buffer)[],
  last: (number | Buffer)[],
]

// A ranking, a kept place and a limit of calls in flight are each one's own matter.
function mayTakeWithOthers(candidates: readonly Candidate[], { slot, ranking }: ReserveRequest): boolean {
  return slot === null && ranking === null && candidates.every(({ deployment }) => !deployment.max_parallel)
}

function limitsOf({ rpm, tpm, itpm, otpm }: PlanDeployment): number[] {
  return [rpm, tpm, itpm, otpm].map((limit) => limit ?? 0)
}

/** What the script needs to know beyond the usual: nothing at all, where no limit, ranking or kept place is in play. */
function specsOf(candidates: readonly Candidate[], { slot, ranking }: ReserveRequest): ScriptArgument[] {
  const held = candidates.findIndex(({ deployment }) => deployment.id === slot?.id) + 1
  const isPlain = candidates.every(
    ({ deployment: { rpm, tpm, itpm, otpm, max_parallel } }) =>
      !rpm && !tpm && !itpm && !otpm && !max_parallel,
  )
  if (isPlain && !ranking && held === 0) return []
  const specs = candidates.map(({ tier, deployment: { rpm, tpm, itpm, otpm, max_parallel } }) =>
    [tier, rpm, tpm, itpm, otpm, max_parallel].map((figure) => figure ?? 0).join(' '),
  )
  const kept = `${held} ${held > 0 ? (slot?.at ?? 0) : 0}`
  return [kept, ranking?.by ?? '', `${ranking?.buffer ?? 0} ${ranking?.ttlMs ?? 0}`, ...specs]
}
