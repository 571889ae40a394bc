import type { Redis } from 'ioredis'
import type { Clock } from './deployment-state.ts'
import type { Keys } from '../keys.ts'
import { createScript, type ScriptArgument } from '../scripts.ts'

// A word that comes before its hearer waits for it is kept as long as a job may be on its way there.
const UNHEARD_MS = 5_000
const RENEW_MS_MIN = 20

/** Calls in flight at one deployment that this process makes. */
type Flight = { ownerId: string; id: string; holders: Set<string> }

/** A job in this process that stands in line, or is about to. */
type Waiter = { since: number; isHanded: boolean; resolve: (() => void) | null }

/**
 * Places in flight at deployments that allow so many calls at once. A place is a lease under the job's id: this process renews
 * those of its calls, those of a dead one run out. Who gives one back hands it to the first in line and calls up those who are
 * next by that: a job that waits in this process is woken here, all others through `wakeOthers`.
 *
 * @param deps.wakeOthers Wakes jobs wherever they wait; answers the ids of those that have ended.
 */
export function createLeases(deps: {
  redis: Redis
  keys: Keys
  leaseMs: number
  wakeOthers: (ids: readonly string[]) => Promise<string[]>
  now: Clock
}) {
  const { redis, keys, leaseMs, now } = deps
  const freePlaces = createScript(redis, 'free-places')
  const renewPlaces = createScript(redis, 'renew-places')
  const live = new Map<string, Flight>()
  const freed = new Map<string, Flight>()
  const waiters = new Map<string, Waiter>()
  let timer: NodeJS.Timeout | null = null
  let isFreeing = false

  /** The job asks for a place: a word that comes before the answer is not lost. */
  function expect(holder: string): void {
    // What is still to be given back under this name goes first.
    if (freed.size > 0) flush()
    waiters.set(holder, { since: performance.now(), isHanded: false, resolve: null })
  }

  /** It does not wait for one. */
  function forget(holder: string): void {
    waiters.delete(holder)
  }

  function hold(ownerId: string, id: string, holder: string): void {
    flightOf(live, ownerId, id).holders.add(holder)
  }

  /** Gives a place back; what happens in one turn of the event loop on one deployment goes together. */
  function free(ownerId: string, id: string, holder: string): void {
    const key = keys.flight(ownerId, id)
    const flight = live.get(key)
    flight?.holders.delete(holder)
    if (flight?.holders.size === 0) live.delete(key)
    flightOf(freed, ownerId, id).holders.add(holder)
    if (isFreeing) return
    isFreeing = true
    queueMicrotask(flush)
  }

  /** Gives back at once what is to be given back. */
  function flush(): void {
    isFreeing = false
    const flights = [...freed.values()]
    freed.clear()
    for (const { ownerId, id, holders } of flights) void giveBack(ownerId, id, [...holders])
  }

  async function giveBack(ownerId: string, id: string, holders: string[]): Promise<void> {
    try {
      const flightKeys = [keys.flight(ownerId, id), keys.line(ownerId, id)]
      const reply = await freePlaces(flightKeys, [now(), leaseMs, keys.wakeChannel, ...holders])
      const [given, ready] = (reply as [Buffer[], Buffer[]]).map((ids) => ids.map(String)) // see the script
      if (given?.length) await Promise.all([tell(ownerId, id, given), callUp(ready ?? [])])
    } catch {
      // With Redis away the leases run out by themselves.
    }
  }

  /** Tells those who were handed a place; the places of jobs that have ended are handed on. Never throws. */
  async function tell(ownerId: string, id: string, handed: readonly string[]): Promise<void> {
    const others = handed.filter((holder) => !wakeOwn(holder))
    if (others.length === 0) return
    const ended = await deps.wakeOthers(others).catch(() => [])
    if (ended.length > 0) await giveBack(ownerId, id, ended)
  }

  /** Jobs that are next now come to wait in place, so that no place stands idle while its job is fetched. */
  async function callUp(holders: readonly string[]): Promise<void> {
    const others = holders.filter((holder) => !waiters.has(holder))
    // Those that have ended leave the line when their turn comes.
    if (others.length > 0) await deps.wakeOthers(others).catch(() => [])
  }

  /** The job was handed a place; heard of from another process. */
  function wake(holder: string): void {
    wakeOwn(holder)
  }

  /** @returns whether it waits here. */
  function wakeOwn(holder: string): boolean {
    const waiter = waiters.get(holder)
    if (!waiter) return false
    waiter.isHanded = true
    waiter.resolve?.()
    // Nobody waits yet, or the job has left this process since.
    return waiter.resolve !== null
  }

  /** Resolves when the job is handed a place, or after `waitMs`, or on abort. */
  async function waitTurn(holder: string, waitMs: number, signal: AbortSignal): Promise<void> {
    const waiter = waiters.get(holder) ?? { since: performance.now(), isHanded: false, resolve: null }
    waiters.set(holder, waiter)
    if (!waiter.isHanded && !signal.aborted) {
      const turn = Promise.withResolvers<void>()
      waiter.resolve = turn.resolve
      const giveUp = setTimeout(turn.resolve, waitMs)
      signal.addEventListener('abort', () => turn.resolve(), { once: true })
      await turn.promise
      clearTimeout(giveUp)
    }
    if (waiters.get(holder) === waiter) waiters.delete(holder)
  }

  /** The job has left this process for the parked: a word that came while it was on its way is passed on. */
  async function noteParked(holder: string): Promise<void> {
    const waiter = waiters.get(holder)
    waiters.delete(holder)
    if (waiter?.isHanded) await deps.wakeOthers([holder])
  }

  function start(): void {
    timer = setInterval(() => void renew(), Math.max(RENEW_MS_MIN, leaseMs / 3))
    timer.unref()
  }

  function close(): void {
    if (timer) clearInterval(timer)
  }

  async function renew(): Promise<void> {
    const before = performance.now() - UNHEARD_MS
    for (const [holder, { since, resolve }] of waiters) {
      if (!resolve && since < before) waiters.delete(holder)
    }
    const byOwner = Map.groupBy(live.values(), ({ ownerId }) => ownerId)
    await Promise.allSettled([...byOwner.values()].map((flights) => renewFlights(flights)))
  }

  /** All of one owner: they lie in one slot. */
  async function renewFlights(flights: readonly Flight[]): Promise<void> {
    const flightKeys = flights.map(({ ownerId, id }) => keys.flight(ownerId, id))
    const args = flights.flatMap(({ holders }): ScriptArgument[] => [holders.size, ...holders])
    await renewPlaces(flightKeys, [now(), leaseMs, ...args])
  }

  function flightOf(flights: Map<string, Flight>, ownerId: string, id: string): Flight {
    const key = keys.flight(ownerId, id)
    const flight = flights.get(key) ?? { ownerId, id, holders: new Set() }
    flights.set(key, flight)
    return flight
  }

  return { expect, forget, hold, free, flush, tell, wake, waitTurn, noteParked, start, close }
}

export type Leases = ReturnType<typeof createLeases>
