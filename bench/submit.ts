// Accepted jobs beside a bare BullMQ `add` (see measures/submit.ts).
import { compareSubmit } from './measures/submit.ts'
import { createChildren } from './support/children.ts'
import { readOptions, type Options } from './support/options.ts'
import { writeJson } from './support/report.ts'

async function main(options: Options): Promise<void> {
  const children = createChildren()
  try {
    const { summaries, ratios } = await compareSubmit(children, options)
    if (options.jsonFile !== '') writeJson(options.jsonFile, { options, summaries, ratios })
    if (summaries.some(({ errors }) => errors > 0)) process.exitCode = 1
  } finally {
    await children.stop()
  }
}

await main(readOptions())
