import type { Children } from '../support/children.ts'
import { project } from '../support/gateway.ts'
import type { Figure, Measure, Measured } from '../support/measure.ts'
import { countRoundTrips, printRoundTrips } from '../support/round-trips.ts'

const PROMPT_BYTES = 1_000
const AT_MOST = { submit: 2, job: 5 }

/** Round trips to Redis that one idle job awaits in turn. */
export const roundTrips: Measure = { name: 'round-trips', title: 'Redis round trips of an idle job', run }

async function run(children: Children): Promise<Measured> {
  const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
  const counted = await countRoundTrips(children, upstream.url, PROMPT_BYTES)
  printRoundTrips(counted)
  return {
    figures: [
      figure('submit, until the 202', counted.submit, AT_MOST.submit),
      figure('whole job, until its settle', counted.job, AT_MOST.job),
      figure('until the caller of a sync call has the answer', counted.answer, null),
    ],
    details: counted,
  }
}

function figure(text: string, reached: number, atMost: number | null): Figure {
  return {
    text: `Redis round trips, ${text}`,
    reached,
    unit: '',
    aim: atMost === null ? null : { atMost },
    ...(Number.isNaN(reached) ? { note: 'no settle was seen in time' } : {}),
  }
}
