import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { OTHERS_SHARE_MAX } from './measure.ts'
import type { Summary } from './rounds.ts'

/** Prints the medians as one table for each number of connections. */
export function printSummaries(summaries: readonly Summary[]): void {
  for (const connections of new Set(summaries.map((summary) => summary.connections))) {
    const here = summaries.filter((summary) => summary.connections === connections)
    console.log(`\n${connections} connections, medians of ${here[0]?.rounds.length ?? 0} rounds`)
    const rows = here.map((summary) => [
      summary.name,
      summary.perSecond.toFixed(0),
      summary.p50Ms.toFixed(1),
      summary.p99Ms.toFixed(1),
      String(summary.errors),
      summary.othersShare === null ? '-' : `${(summary.othersShare * 100).toFixed(0)}%`,
      describeCpu(summary.cpuUs),
    ])
    printTable(['', 'req/s', 'p50 ms', 'p99 ms', 'errors', 'others', 'CPU us/request'], rows)
    for (const { name, firstError } of here) if (firstError) console.log(`  ${name}: ${firstError}`)
  }
  warnOfOthers(summaries)
}

/** Says so when others used so much of the machine that ratios say little. */
export function warnOfOthers(summaries: readonly Summary[]): void {
  if (summaries.some(({ othersShare }) => (othersShare ?? 0) > OTHERS_SHARE_MAX)) {
    console.log('\nOther programs used the machine meanwhile: take the CPU figures, not the ratios.')
  }
}

/** How many times as many requests a second one did as another, at each number of connections. */
export type Ratio = { of: string; over: string; connections: number; ratio: number }

/** Ratios of requests a second, of those pairs that were measured. */
export function ratiosOf(
  summaries: readonly Summary[],
  pairs: readonly (readonly [string, string])[],
): Ratio[] {
  const rate = (name: string, connections: number) =>
    summaries.find((summary) => summary.name === name && summary.connections === connections)?.perSecond
  return [...new Set(summaries.map(({ connections }) => connections))].flatMap((connections) =>
    pairs.flatMap(([of, over]) => {
      const [above, below] = [rate(of, connections), rate(over, connections)]
      return above === undefined || !below ? [] : [{ of, over, connections, ratio: above / below }]
    }),
  )
}

/** Prints ratios, one a line. */
export function printRatios(ratios: readonly Ratio[]): void {
  console.log('')
  for (const { of, over, connections, ratio } of ratios) {
    console.log(`${of} / ${over} at ${connections} connections: ${ratio.toFixed(2)}`)
  }
}

/** Writes everything that was measured, with what it was measured on, and says so. */
export function writeJson(file: string, results: object): void {
  saveJson(file, results)
  console.log(`\nWritten to ${file}`)
}

/** Writes everything that was measured, with what it was measured on. */
export function saveJson(file: string, results: object): void {
  const machine = {
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    measured_at: new Date().toISOString(),
  }
  writeFileSync(file, `${JSON.stringify({ machine, ...results }, null, 2)}\n`)
}

/** Prints columns as wide as they must be; the first is left-aligned, and so is the last. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0
      return column === 0 || column === row.length - 1 ? cell.padEnd(width) : cell.padStart(width)
    })
    console.log(`  ${cells.join('  ').trimEnd()}`)
  }
}

/** One line: microseconds of each process. */
export function describeCpu(cpuUs: Record<string, number> | null): string {
  if (!cpuUs) return 'unknown here'
  return Object.entries(cpuUs)
    .map(([name, us]) => `${name} ${us.toFixed(0)}`)
    .join(', ')
}
