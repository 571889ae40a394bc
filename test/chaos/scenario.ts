import { setTimeout as pause } from 'node:timers/promises'
import { ErrorResponse } from '../../shared/schemas/error.ts'
import { audit, type MayBeLost, type Tally } from './audit.ts'
import { call } from './calls.ts'
import { startFleet, type Fleet, type Times } from './fleet.ts'
import { FAULTS, type FaultName, type Stage } from './faults.ts'
import { startInbox, type Inbox } from './inbox.ts'
import { deleteAll, findLeftovers } from './left-behind.ts'
import { startLoad, type Load, type LoadOptions } from './load.ts'
import type { Mix } from './order.ts'
import { createRandom } from './random.ts'
import type { StorageKind } from './storage.ts'
import { readUsed } from './usage.ts'
import { startUpstream, type Upstream } from './upstream.ts'

/** What a scenario works with: a fleet, what stands around it, and a load that goes on meanwhile. */
export type Play = Stage & {
  upstream: Upstream
  load: Load
  /** Starts load of a scenario's own, which is looked at with the rest. */
  also: (options: Partial<LoadOptions>) => Load
  /** Whether this tenant's jobs are to outlive everything. */
  isDurable: (tenant: string) => boolean
  /** How many times over a fault is played: in the long form more often. */
  times: (long: number, short: number) => number
}

export type Scenario = {
  name: string
  /** Number in the list of failure stories, where there is one. */
  story?: string
  about: string
  storage?: StorageKind
  /** Gateway settings of its own: then it has a fleet of its own. */
  env?: Record<string, string>
  /** Whose jobs are to outlive everything (`durability: fsync`), where Redis can do that. */
  durable?: string
  /** What is sent, where not everything. */
  mix?: Mix
  /** Orders a second, where not as everywhere. */
  rate?: number
  /** Faults that are played one after the other, each so often (long form, short form). */
  faults?: readonly FaultName[]
  repeat?: readonly [long: number, short: number]
  /** Or what it does. @returns what may be lost by it */
  play?: (play: Play) => Promise<MayBeLost | void>
}

/** Result of one scenario. */
export type Outcome = Tally & {
  name: string
  story: string
  seconds: number
  faults: string[]
  /** What could not be looked at here, and why. */
  skipped: string[]
}

export type Run = {
  seed: number
  times: Times
  isLong: boolean
  rate: number
  /** Seconds of load before, between and after faults. */
  calmMs: number
  /** The binary of Redis; whatever is found unless given. */
  redisServer?: string | null
  /** Is told what happens, while it does. */
  tell?: (text: string) => void
}

/** A fleet with its surroundings. */
export type Site = { fleet: Fleet; upstream: Upstream; inbox: Inbox; close: () => Promise<void> }

/** Starts what scenarios of one kind share. The caller closes it. */
export async function openSite(
  run: Run,
  { storage = 'always', env }: Pick<Scenario, 'storage' | 'env'>,
): Promise<Site> {
  const upstream = await startUpstream(run.seed)
  const inbox = await startInbox()
  const fleet = await startFleet({ times: run.times, storage, env, redisServer: run.redisServer })
  inbox.readBy(async (id) => {
    const path = id.startsWith('batch') ? `/v1/batches/${id}` : `/v1/jobs/${id}`
    for (const tenant of fleet.tenants) {
      const url = `${fleet.url(id.length)}${path}`
      const headers = { authorization: `Bearer ${fleet.keyOf(tenant)}` }
      const answer = await fetch(url, { headers, signal: AbortSignal.timeout(3_000) }).catch(() => null)
      if (answer?.status !== 200) continue
      // What our own API says of a job or batch.
      const { status } = (await answer.json()) as { status: string }
      return status
    }
    return undefined
  })
  return {
    fleet,
    upstream,
    inbox,
    async close() {
      try {
        await fleet.stop()
      } finally {
        await inbox.close()
        await upstream.close()
      }
    },
  }
}

/** Plays a scenario under load, brings everything back, and looks at what became of all that was accepted. */
export async function playScenario(scenario: Scenario, run: Run, site: Site, round = 1): Promise<Outcome> {
  const { fleet, upstream, inbox } = site
  const startedAt = performance.now()
  const name = round === 1 ? scenario.name : `${scenario.name}-r${round}`
  run.tell?.(`${name}: ${scenario.about}`)
  const faults: string[] = []
  const broken: string[] = []
  const skipped: string[] = []
  const loads: Load[] = []
  const also = (options: Partial<LoadOptions>): Load => {
    const own = loads.length === 0 ? name : `${name}-${loads.length}`
    const random = createRandom(run.seed, `load of ${own}`)
    const rate = scenario.rate ?? run.rate
    const load = startLoad({ fleet, upstream, inbox, random, name: own, rate, mix: scenario.mix, ...options })
    loads.push(load)
    return load
  }
  const { durable } = scenario
  if (durable !== undefined) {
    const reason = await makeDurable(fleet, durable)
    if (reason !== null) skipped.push(`durability: fsync of ${durable}: ${reason}`)
  }
  const usedBefore = await readUsed(fleet)
  upstream.behave(() => undefined)
  const play: Play = {
    fleet,
    upstream,
    inbox,
    random: createRandom(run.seed, `faults of ${name}`),
    note(fault) {
      faults.push(fault)
      run.tell?.(`  ${fault}`)
    },
    load: also({}),
    also,
    broken: (text) => void broken.push(text),
    isDurable: (tenant) => tenant === durable && skipped.length === 0,
    times: (long, short) => (run.isLong ? long : short),
  }
  await pause(run.calmMs)
  const mayBeLost = await playOut(scenario.play ?? playFaults(scenario, run), play)
  await pause(run.calmMs)
  inbox.down(false)
  await fleet.mend()
  await Promise.all(loads.map((load) => load.stop()))

  run.tell?.('  all is up again')
  const sent = loads.flatMap((load) => load.sent)
  const settleMs = 15 * run.times.leaseMs + 30_000
  const tally = await audit({ fleet, upstream, inbox, sent, settleMs, mayBeLost, usedBefore })
  const left = await clearUp(fleet, run, faults.length === 0)
  const ends = fleet.takeEnded()
  const seconds = (performance.now() - startedAt) / 1_000
  const outcome = { ...tally, broken: [...broken, ...tally.broken, ...left, ...ends] }
  return { ...outcome, name, story: scenario.story ?? '', seconds, faults, skipped }
}

/** From now on whatever a tenant submits waits for the disk. @returns why this Redis can't do that; null: it can */
async function makeDurable(fleet: Fleet, id: string): Promise<string | null> {
  const body = { id, durability: 'fsync' }
  const { status, json } = await call(fleet, 'POST', '/v1/admin/tenants', { key: fleet.masterKey, body })
  // 409: an earlier scenario did it.
  if (status < 300 || status === 409) return null
  return ErrorResponse.safeParse(json).data?.error.message ?? `answered ${status}`
}

/** What cannot be played out is a fault as well; everything is brought back and looked at all the same. */
async function playOut(faults: NonNullable<Scenario['play']>, play: Play): Promise<MayBeLost | undefined> {
  try {
    return (await faults(play)) ?? undefined
  } catch (error) {
    play.broken(`it could not be played out: ${String(error)}`)
    return undefined
  }
}

function playFaults({ faults = [], repeat = [1, 1] }: Scenario, run: Run) {
  return async (play: Play): Promise<void> => {
    const often = play.times(...repeat)
    for (let count = 0; count < often; count += 1) {
      for (const fault of faults) {
        await FAULTS[fault](play)
        if (!fault.startsWith('reset-one')) await pause(run.calmMs)
      }
    }
  }
}

/** Deletes all there is, and says what is left of it, and of everything else, that should not be. */
async function clearUp(fleet: Fleet, run: Run, isCalm: boolean): Promise<string[]> {
  await deleteAll(fleet)
  return findLeftovers(fleet, { isOver: false, isCalm, patienceMs: 5 * run.times.leaseMs + 30_000 })
}
