import { writeFileSync } from 'node:fs'
import type { Outcome } from './scenario.ts'

const COLUMNS = [
  'accepted',
  'ended',
  'lost',
  'calls',
  'attempts',
  'repeated',
  'marked',
  'unmarked',
  'webhooks',
  'redelivered',
] as const
const BROKEN_SHOWN = 20

/** One row for each scenario. */
export function formatTable(outcomes: readonly Outcome[]): string {
  const head = ['scenario', 'story', 'seconds', 'faults', ...COLUMNS, 'broken']
  const rows = outcomes.map((one) => [
    one.name,
    one.story,
    one.seconds.toFixed(0),
    String(one.faults.length),
    ...COLUMNS.map((name) => String(one[name])),
    String(one.broken.length),
  ])
  const sums = [
    'all',
    '',
    sum(outcomes.map((one) => one.seconds)),
    sum(outcomes.map((one) => one.faults.length)),
  ]
  const counts = COLUMNS.map((name) => sum(outcomes.map((one) => one[name])))
  rows.push([...sums, ...counts, sum(outcomes.map((one) => one.broken.length))])
  const widths = head.map((name, at) => Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)))
  return [head, ...rows]
    .map((row) =>
      row.map((cell, at) => (at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))),
    )
    .map((row) => row.join('  '))
    .join('\n')
}

/** What was not kept, by scenario. */
export function formatBroken({ name, broken }: Outcome): string {
  const more = broken.length > BROKEN_SHOWN ? [`  ... and ${broken.length - BROKEN_SHOWN} more`] : []
  return [`${name}:`, ...broken.slice(0, BROKEN_SHOWN).map((text) => `  ${text}`), ...more].join('\n')
}

export function writeJson(file: string, seed: number, outcomes: readonly Outcome[]): void {
  writeFileSync(file, `${JSON.stringify({ seed, outcomes }, null, 2)}\n`)
}

function sum(numbers: readonly number[]): string {
  return numbers.reduce((all, one) => all + one, 0).toFixed(0)
}
