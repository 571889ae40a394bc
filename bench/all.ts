// All measures in one run: what was reached, what the aim is, and whether it is met.
import { parseArgs } from 'node:util'
import { createChildren } from './support/children.ts'
import { bytes } from './measures/bytes.ts'
import { cpu } from './measures/cpu.ts'
import { idle } from './measures/idle.ts'
import { inFlight } from './measures/in-flight.ts'
import { latency } from './measures/latency.ts'
import { memory } from './measures/memory.ts'
import { redisProfile } from './measures/redis.ts'
import { roundTrips } from './measures/round-trips.ts'
import { submit } from './measures/submit.ts'
import { sync } from './measures/sync.ts'
import { isMet, type Figure, type Measure, type Measured, type Size } from './support/measure.ts'
import { printTable, writeJson } from './support/report.ts'

const MEASURES: readonly Measure[] = [
  cpu,
  sync,
  latency,
  submit,
  idle,
  roundTrips,
  bytes,
  inFlight,
  memory,
  redisProfile,
]

async function measureOne(measure: Measure, size: Size): Promise<Measured> {
  console.log(`\n${measure.title} (${measure.name})`)
  const children = createChildren()
  try {
    return await measure.run(children, size)
  } finally {
    await children.stop()
  }
}

function printFigures(figures: readonly Figure[]): void {
  const rows = figures.map((figure) => {
    const { text, reached, unit, aim, note = '' } = figure
    const met = isMet(figure)
    const bound = aim ? ('atLeast' in aim ? `>= ${aim.atLeast}` : `<= ${aim.atMost}`) : '-' // oxlint-ignore-line
    return [text, `${format(reached)} ${unit}`, bound, met === null ? '-' : met ? 'yes' : 'NO', note]
  })
  printTable(['measure', 'reached', 'aim', 'met', ''], rows)
}

function format(value: number): string {
  if (Number.isInteger(value)) return String(value)
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string', default: '' },
    'cpu-prof': { type: 'string', default: '' },
  },
})
const wanted = values.only.split(',').filter((name) => name !== '')
const size = { isQuick: values.quick, profileFolder: values['cpu-prof'] }
const results: Record<string, Measured> = {}
for (const measure of MEASURES) {
  if (wanted.length === 0 || wanted.includes(measure.name))
    results[measure.name] = await measureOne(measure, size)
}
console.log('')
printFigures(Object.values(results).flatMap(({ figures }) => figures))
if (values.json !== '') writeJson(values.json, { size, results })
