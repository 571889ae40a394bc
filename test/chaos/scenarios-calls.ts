import { setTimeout as pause } from 'node:timers/promises'
import { eventually } from '../support/eventually.ts'
import { call } from './calls.ts'
import { FAULTS } from './faults.ts'
import type { Load } from './load.ts'
import type { Mix } from './order.ts'
import type { Scenario } from './scenario.ts'
import { answerTo, type Upstream } from './upstream.ts'
import { completion } from '../support/provider.ts'

const LATER: Mix = { sync: 0, stream: 0, async: 100, keyed: 0, batch: 0 }
const BOTH: Mix = { sync: 50, stream: 0, async: 50, keyed: 0, batch: 0 }
/** Longer than anything may stand still while there is work. */
const ASLEEP_MS = 30_000

/** A provider that breaks off each first call after it was accepted: what that cost is marked, and nothing else. */
export const closedSocket: Scenario = {
  name: 'closed-socket',
  story: '3.7',
  about: 'the provider closes the socket after it has accepted the call',
  async play({ upstream, load, times }) {
    upstream.behave((_, number) => (number === 1 ? { kind: 'cut' } : undefined))
    const before = load.jobs()
    await eventually('enough were sent', () => load.jobs() - before >= times(1_000, 60), {
      timeoutMs: 120_000,
    })
  },
}

/** Workers told to end with many calls under way: all of these are waited for. */
export const drain: Scenario = {
  name: 'drain',
  story: '3.23',
  about: 'workers are told to end while 100 long calls are in flight: none is called off, none repeated',
  async play({ fleet, upstream, also, note, broken, times }) {
    // Two thirds of what a worker waits for when it ends.
    const callMs = times(20_000, 4_000)
    const count = times(100, 40)
    // In good time of each other, so that all are under way at once.
    const own = also({ count, rate: 200, mix: BOTH })
    const marks = new Set<string>()
    upstream.behave((mark) => (marks.has(mark) ? completion(answerTo(mark)) : undefined))
    upstream.slowDown(callMs)
    await own.allSent
    for (const { order } of own.sent) marks.add(order.mark)
    const called = () => own.sent.filter(({ order }) => upstream.calls.has(order.mark)).length
    const expected = own.sent.filter(({ order }) => order.delay === 0 && order.cancelAfterMs === null).length
    await eventually('most of them are under way', () => called() >= expected * 0.8, { timeoutMs: 30_000 })
    note('SIGTERM all workers')
    const leaving = fleet.workers()
    const ended = fleet.end(leaving, 'SIGTERM')
    await ended
    upstream.slowDown(0)
    await fleet.start(leaving)
    await own.stop()
    const again = repeatedOf(own, upstream)
    if (again.length > 0) broken(`${again.length} calls were made again after a drain: ${again.join(' ')}`)
  },
}

function repeatedOf(load: Load, upstream: Upstream): string[] {
  const marks = load.sent.map(({ order }) => order.mark)
  return marks.filter((mark) => (upstream.calls.get(mark)?.length ?? 0) > 1)
}

/** Many who ask for the same jobs again and again while they end, and workers that die meanwhile. */
export const pollers: Scenario = {
  name: 'pollers',
  story: '3.22',
  about: '20 clients poll while jobs end and workers are killed: what was used is counted once',
  async play(play) {
    const { fleet, load, times } = play
    const stopping = new AbortController()
    const polls = Array.from({ length: 20 }, async (_, number) => {
      for (let count = 0; !stopping.signal.aborted; count += 1) {
        const one = load.sent.at(-1 - ((number + count) % 20))
        const [id] = one?.ids ?? []
        if (!one || id === undefined) {
          await pause(20)
          continue
        }
        const asked = { key: fleet.keyOf(one.order.tenant), api: number }
        const path = one.order.kind === 'batch' ? `/v1/batches/${id}` : `/v1/jobs/${id}`
        await call(fleet, 'GET', path, asked).catch(() => pause(50))
      }
    })
    for (let count = 0; count < times(4, 1); count += 1) {
      await FAULTS['kill-worker'](play)
      await pause(times(3_000, 500))
    }
    stopping.abort()
    await Promise.all(polls)
  },
}

/** Connections reset again and again while jobs wait and nothing new comes: the workers must not fall asleep. */
export const asleep: Scenario = {
  name: 'asleep',
  story: '3.5',
  about: '1,000 random resets while jobs wait and none is added: there is never 30 s without a call',
  env: { WORKER_CONCURRENCY: '4' },
  rate: 0.1,
  async play(play) {
    const { upstream, also, times, broken } = play
    const resets = times(1_000, 60)
    upstream.slowDown(300)
    const jobs = times(2_400, 160)
    const own = also({ count: jobs, rate: 400, atOnce: jobs, mix: LATER })
    // A client that asks once is not to be cut off while it asks: then there would be nothing that waits.
    await eventually('all are accepted', () => own.accepted() === jobs, { timeoutMs: 120_000 })
    const from = performance.now()
    for (let count = 0; count < resets; count += 1) await FAULTS['reset-one'](play)
    const wanted = own.sent.filter(({ order }) => order.cancelAfterMs === null)
    const isDone = () => wanted.every(({ order }) => upstream.calls.has(order.mark))
    if (isDone()) broken('no job waited any more when the last connection was reset')
    await eventually('all were called', isDone, { timeoutMs: 600_000, everyMs: 200 }).catch(() =>
      broken('some jobs were never called'),
    )
    upstream.slowDown(0)
    const at = own.sent.flatMap(({ order }) => upstream.calls.get(order.mark) ?? []).map((one) => one.at)
    const moments = [from, ...at.filter((one) => one > from)].toSorted((a, b) => a - b)
    const gaps = moments.slice(1).map((one, index) => one - (moments[index] ?? one))
    const longest = Math.max(0, ...gaps)
    if (longest > ASLEEP_MS) broken(`for ${Math.round(longest)} ms nothing was called though jobs waited`)
  },
}
