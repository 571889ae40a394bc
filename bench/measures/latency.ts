// By how much a synchronous call is later than without us, while nothing else happens: one connection, one call at a time, to
// the upstream itself, through the bare proxy, and through us, in turn.
import { availableParallelism } from 'node:os'
import type { Children } from '../support/children.ts'
import { NAMES, startBareProxy, startOurs } from '../support/contenders.ts'
import { project } from '../support/gateway.ts'
import { noteOf, type Figure, type Measure, type Measured, type Size } from '../support/measure.ts'
import { printSummaries } from '../support/report.ts'
import { completionBody } from '../support/requests.ts'
import { measureRounds, type Contender } from '../support/rounds.ts'

const PROMPT_BYTES = 1_000
const DIRECT = 'the upstream itself'
const AT_MOST_MS = { p50: 1.5, p99: 8 }

/** Added latency of a call on an idle gateway. */
export const latency: Measure = { name: 'latency', title: 'Added latency of a sync call, idle', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const { profileFolder } = size
  const sent = { body: completionBody(PROMPT_BYTES), promptBytes: PROMPT_BYTES, profileFolder }
  const bare = await startBareProxy(children, upstream, sent)
  const direct: Contender = {
    name: DIRECT,
    request: { ...bare.request, url: `${upstream.url}/v1/chat/completions` },
    pids: { upstream: upstream.pid },
  }
  const ours = await startOurs(children, upstream, sent)
  const summaries = await measureRounds(
    [direct, bare, ours],
    load,
    {
      ...(size.isQuick
        ? { seconds: 2, rounds: 1, warmupSeconds: 1 }
        : { seconds: 5, rounds: 3, warmupSeconds: 3 }),
      connections: [1],
    },
    availableParallelism(),
  )
  printSummaries(summaries)
  const of = (name: string) => summaries.find((one) => one.name === name)
  const added = (part: 'p50' | 'p99', over: string): number =>
    (of(NAMES.gateway)?.[`${part}Ms`] ?? Number.NaN) - (of(over)?.[`${part}Ms`] ?? Number.NaN)
  const figure = (part: 'p50' | 'p99', over: string): Figure => ({
    text: `added latency of a sync call, 1 connection, idle: ${part}, over ${over}`,
    reached: added(part, over),
    unit: 'ms',
    aim: { atMost: AT_MOST_MS[part] },
    ...noteOf(summaries),
  })
  const figures = [DIRECT, NAMES.bare].flatMap((over) => [figure('p50', over), figure('p99', over)])
  return { figures, details: { summaries } }
}
