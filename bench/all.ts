// All measures in one run: what was reached, what the aim is, and whether it is met.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { batch } from './measures/batch.ts'
import { bytes } from './measures/bytes.ts'
import { cpu } from './measures/cpu.ts'
import { idle } from './measures/idle.ts'
import { inFlight } from './measures/in-flight.ts'
import { latency } from './measures/latency.ts'
import { limits } from './measures/limits.ts'
import { memory } from './measures/memory.ts'
import { redisProfile } from './measures/redis.ts'
import { roundTrips } from './measures/round-trips.ts'
import { scale } from './measures/scale.ts'
import { streams } from './measures/streams.ts'
import { submit } from './measures/submit.ts'
import { sync } from './measures/sync.ts'
import { telling } from './measures/telling.ts'
import { figuresAsMarkdown, printFigures } from './support/figures.ts'
import type { Measure, Size } from './support/measure.ts'
import { plotFigures } from './support/plot.ts'
import { saveJson } from './support/report.ts'
import { figuresOf, runMeasures, type Outcome } from './support/run-measures.ts'

const MEASURES: readonly Measure[] = [
  cpu,
  sync,
  latency,
  submit,
  batch,
  idle,
  roundTrips,
  bytes,
  inFlight,
  streams,
  limits,
  memory,
  scale,
  telling,
  redisProfile,
]

function chooseMeasures(only: string): readonly Measure[] {
  const names = only.split(',').filter((name) => name !== '')
  const unknown = names.filter((name) => !MEASURES.some((measure) => measure.name === name))
  if (unknown.length > 0) {
    throw new Error(
      `There is no measure ${unknown.join(', ')}: ${MEASURES.map(({ name }) => name).join(', ')}`,
    )
  }
  return names.length === 0 ? MEASURES : MEASURES.filter(({ name }) => names.includes(name))
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string', default: '' },
    svg: { type: 'string', default: '' },
    markdown: { type: 'string', default: '' },
    'cpu-prof': { type: 'string', default: '' },
  },
})
const measures = chooseMeasures(values.only)
const size: Size = { isQuick: values.quick, profileFolder: values['cpu-prof'] }
const day = new Date().toISOString().slice(0, 10)

// After each measure, so that a run that is interrupted has told what it found.
function save(outcomes: Record<string, Outcome>): void {
  const found = figuresOf(outcomes)
  if (values.json !== '') saveJson(values.json, { size, figures: found, outcomes })
  if (values.markdown !== '') writeFileSync(values.markdown, figuresAsMarkdown(found))
  if (values.svg !== '') writeFileSync(values.svg, plotFigures(found, `byok-gateway, ${day}`))
}

const outcomes = await runMeasures(measures, size, save)
console.log(`\n== All, ${day}${size.isQuick ? ', quick' : ''}`)
printFigures(figuresOf(outcomes))
if (Object.values(outcomes).some(({ kind }) => kind === 'failed')) process.exitCode = 1
