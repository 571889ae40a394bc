// Synchronous completions beside peers (see measures/sync.ts), and what one job costs in round trips to Redis.
import { compareSync } from './measures/sync.ts'
import { createChildren } from './support/children.ts'
import { NAMES } from './support/contenders.ts'
import { project } from './support/gateway.ts'
import { readOptions, type Options } from './support/options.ts'
import { writeJson } from './support/report.ts'
import { countRoundTrips, printRoundTrips } from './support/round-trips.ts'

async function main(options: Options): Promise<void> {
  const children = createChildren()
  try {
    const upstream = await children.startHelper('upstream', project('bench/processes/upstream.ts'))
    const { summaries, ratios } = await compareSync(children, upstream, options)
    const isOursMeasured = summaries.some(({ name }) => name === NAMES.gateway)
    const roundTrips =
      options.withRoundTrips && isOursMeasured
        ? await countRoundTrips(children, upstream.url, options.promptBytes)
        : null
    if (roundTrips) printRoundTrips(roundTrips)
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, summaries, ratios, roundTrips })
    if (summaries.some(({ errors }) => errors > 0)) process.exitCode = 1
  } finally {
    await children.stop()
  }
}

await main(readOptions())
