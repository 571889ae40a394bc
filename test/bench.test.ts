import { expect, test } from 'vitest'
import { figuresAsMarkdown } from '../bench/support/figures.ts'
import { isMet, type Figure } from '../bench/support/measure.ts'
import { plotFigures, ratioToAim } from '../bench/support/plot.ts'
import { createDepartures } from '../bench/support/redis-tap.ts'
import { figuresOf, runMeasures } from '../bench/support/run-measures.ts'
import { readScriptNames } from '../bench/support/script-names.ts'
import { readScript } from '../shared/scripts.ts'

const QUICK = { isQuick: true, profileFolder: '' }
const figure = (reached: number, aim: Figure['aim']): Figure => ({
  text: 'a & b < c',
  reached,
  unit: 'ms',
  aim,
})

test('a benchmark knows each script by the hash that Redis is sent, alone, for each of several calls, and BullMQ’s', () => {
  const names = readScriptNames()
  expect(names.get(readScript('settle-job').sha)).toBe('settle-job')
  expect(names.get(readScript('settle-job', { isForEach: true }).sha)).toBe('settle-job[]')
  expect([...names.values()]).toContain('bullmq moveToFinished')
})

test('an aim is met from its bound on, whether more or less is better, and never by what was not measured', () => {
  expect(isMet(figure(2, { atLeast: 2 }))).toBe(true)
  expect(isMet(figure(1.99, { atLeast: 2 }))).toBe(false)
  expect(isMet(figure(2, { atMost: 2 }))).toBe(true)
  expect(isMet(figure(2.01, { atMost: 2 }))).toBe(false)
  expect(isMet(figure(Number.NaN, { atMost: 2 }))).toBe(false)
  expect(isMet(figure(1, null))).toBeNull()
  expect(ratioToAim(figure(3, { atLeast: 2 }))).toBe(1.5)
  expect(ratioToAim(figure(4, { atMost: 2 }))).toBe(0.5)
})

test('a plot has a bar for each aim, and text that is not taken for markup', () => {
  const svg = plotFigures([figure(1, { atMost: 2 }), figure(9, { atMost: 2 }), figure(5, null)], 'All')
  // The background, and two bars.
  expect(svg.match(/<rect /g)).toHaveLength(3)
  expect(svg).toContain('a &amp; b &lt; c')
  expect(svg).toContain('9 ms (&lt;= 2 ms)')
  expect(figuresAsMarkdown([figure(1, { atMost: 2 })])).toContain('| a & b < c | <= 2 ms | 1 ms | yes |')
})

test('a measure that fails is in the table as missed, and the next one is run all the same', async () => {
  const broken = { name: 'broken', title: 'Broken', run: () => Promise.reject(new Error('no such thing')) }
  const whole = {
    name: 'whole',
    title: 'Whole',
    run: () => Promise.resolve({ figures: [figure(1, { atMost: 2 })], details: {} }),
  }
  const told: number[] = []
  const note = (outcomes: object) => told.push(Object.keys(outcomes).length)
  const figures = figuresOf(await runMeasures([broken, whole], QUICK, note))
  expect(figures.map(isMet)).toEqual([false, true])
  expect(told).toEqual([1, 2])
  expect(figures[0]?.note).toBe('failed: no such thing')
})

test('commands that are sent between two departures leave together, in their order', async () => {
  const departures = createDepartures(3_600_000)
  const left: string[] = []
  departures.start()
  const first = departures.join(() => left.push('first'))
  const second = departures.join(() => left.push('second'))
  expect(left).toEqual([])
  await departures.stop()
  expect(left).toEqual(['first', 'second'])
  expect(second).toBe(first)
  expect(departures.count()).toBe(first)
})
