// How many streams one worker process has in flight at once at a slow provider's pace, and by how much later their first tokens
// come than through the bare proxy under as many.
import type { RampOrder, RampResult } from '../processes/stream-ramp.ts'
import { ask, type Children } from '../support/children.ts'
import { NAMES, startBareProxy, startOurs } from '../support/contenders.ts'
import { measureCpu } from '../support/cpu.ts'
import { project } from '../support/gateway.ts'
import { noteOfUse, type Measure, type Measured, type Size } from '../support/measure.ts'
import { percentile } from '../support/percentile.ts'
import { completionBody } from '../support/requests.ts'
import type { Contender } from '../support/rounds.ts'
import type { Pace } from '../support/stream-answer.ts'

const PROMPT_BYTES = 1_000
const STREAMS = 1_000
const AT_MOST_MS = 15
// A tenant never takes the last 15% of all slots.
const SLOTS = 1_500
const WARMUP_STREAMS = 50
// Two processors are half busy with that, whose first tokens are looked at: 1,250 chunks a second.
const FULL = { pace: { chunks: 200, intervalMs: 800 }, overMs: 40_000 }
const QUICK = { pace: { chunks: 20, intervalMs: 800 }, overMs: 12_000 }

/** Streams in flight in one worker process. */
export const streams: Measure = { name: 'streams', title: 'Streams in flight in one worker process', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const { pace, overMs } = size.isQuick ? QUICK : FULL
  const upstream = await children.startHelper('upstream', project('bench/processes/stream-upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/stream-ramp.ts'))
  const { profileFolder } = size
  const body = { ...completionBody(PROMPT_BYTES), stream: true }
  const sent = { body, promptBytes: PROMPT_BYTES, profileFolder }
  // A heartbeat of a stream that says nothing for long is no byte of the upstream's.
  const env = { WORKER_CONCURRENCY: String(SLOTS), GATEWAY_STREAM_HEARTBEAT_MS: '3600000' }
  const bare = await startBareProxy(children, upstream, sent)
  const ours = await startOurs(children, upstream, sent, { env })

  const open = async ({ request }: Contender, order: Omit<RampOrder, 'request'>, at: Pace) => {
    for (const child of [upstream, load]) await ask(child, { pace: at }, 10_000)
    const longestMs = order.overMs + at.chunks * at.intervalMs * 10 + 120_000
    const result = await ask<RampResult>(load, { request, ...order }, longestMs)
    if (result.errors > 0) throw new Error(`${result.errors} streams failed: ${result.firstError}`)
    return result
  }
  const pids = { ...bare.pids, ...ours.pids, load: load.pid }
  const stopCpu = measureCpu(pids)
  const startedAt = performance.now()
  const results: Record<string, RampResult> = {}
  for (const contender of [bare, ours]) {
    await open(contender, { streams: WARMUP_STREAMS, overMs: 1_000 }, { chunks: 20, intervalMs: 20 })
    results[contender.name] = await open(contender, { streams: STREAMS, overMs }, pace)
  }
  const note = noteOfUse(stopCpu(), performance.now() - startedAt)
  const first = (name: string, part: number) => percentile(results[name]?.firstMs ?? [], part)
  for (const [name, { inFlightMax }] of Object.entries(results)) {
    console.log(
      `  ${name}: ${inFlightMax} streams at once, first token p50 ${first(name, 0.5).toFixed(1)} ms, p99 ${first(name, 0.99).toFixed(1)} ms`,
    )
  }
  const added = (part: number) => first(NAMES.gateway, part) - first(NAMES.bare, part)
  const what = `first token over the bare proxy’s, ${STREAMS} streams`
  return {
    figures: [
      {
        text: `streams in flight in one worker process, ${pace.chunks} chunks each`,
        reached: results[NAMES.gateway]?.inFlightMax ?? Number.NaN,
        unit: '',
        aim: { atLeast: STREAMS },
        ...note,
      },
      { text: `${what}: p50`, reached: added(0.5), unit: 'ms', aim: null, ...note },
      { text: `${what}: p99`, reached: added(0.99), unit: 'ms', aim: { atMost: AT_MOST_MS }, ...note },
    ],
    details: { pace, overMs, results },
  }
}
