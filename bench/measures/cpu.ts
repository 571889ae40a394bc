// What one synchronous completion costs each process, each bound to a processor: the primary figure of all, since it depends
// least on what else the machine does.
import { availableParallelism } from 'node:os'
import type { Children } from '../support/children.ts'
import { startOurs } from '../support/contenders.ts'
import { project } from '../support/gateway.ts'
import { noteOf, type Figure, type Measure, type Measured, type Size } from '../support/measure.ts'
import { pin } from '../support/pinning.ts'
import { printSummaries } from '../support/report.ts'
import { completionBody } from '../support/requests.ts'
import { measureRounds } from '../support/rounds.ts'

const PROMPT_BYTES = 1_000
const CONNECTIONS = 50
const AT_MOST_US = { api: 140, worker: 180, redis: 80 }

/** Processor time of a synchronous completion, by process. */
export const cpu: Measure = { name: 'cpu', title: 'Processor time of a sync job, pinned', run }

async function run(children: Children, size: Size): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const { profileFolder } = size
  const sent = { body: completionBody(PROMPT_BYTES), promptBytes: PROMPT_BYTES, profileFolder }
  const ours = await startOurs(children, upstream, sent)
  const pinning = pin({ ...ours.pids, load: load.pid })
  const summaries = await measureRounds(
    [ours],
    load,
    {
      ...(size.isQuick
        ? { seconds: 3, rounds: 1, warmupSeconds: 3 }
        : { seconds: 5, rounds: 5, warmupSeconds: 5 }),
      connections: [CONNECTIONS],
    },
    availableParallelism(),
  )
  console.log(`  ${pinning}`)
  printSummaries(summaries)
  const cpuUs = summaries[0]?.cpuUs ?? {}
  const isPinned = pinning.startsWith('pinned')
  const figures = Object.entries(AT_MOST_US).map(([name, atMost]): Figure => ({
    text: `CPU of ${name} for a sync job`,
    reached: cpuUs[name] ?? Number.NaN,
    unit: 'us',
    aim: { atMost },
    ...(isPinned ? noteOf(summaries) : { note: pinning }),
  }))
  return { figures, details: { pinning, summaries } }
}
