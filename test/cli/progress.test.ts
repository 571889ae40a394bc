import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { createDisplay } from '../../cli/progress-display.ts'
import { createPace, formatCost, formatDuration, viewOf, viewOfUpload } from '../../cli/progress.ts'
import { formatTable } from '../../cli/terminal.ts'
import { sampleBatch } from './sample-batch.ts'

function display(isTTY: boolean) {
  const stdout = Object.assign(new PassThrough(), { isTTY, columns: 120 })
  const said: string[] = []
  return {
    said,
    display: createDisplay({ stdout, say: (line) => said.push(line) }),
    drawn: () => String(stdout.read() ?? ''),
  }
}
const view = (completed: number, status: 'in_progress' | 'completed' = 'in_progress') =>
  viewOf(sampleBatch({ completed }, { status }), createPace())

const usage = { ...sampleBatch().usage, total_tokens: 1_234_567 }

describe('what is said of a batch', () => {
  test('lines done and failed, rate, time left, tokens and cost', () => {
    const pace = createPace()
    pace.add(0, 10)
    pace.add(10_000, 30)
    const batch = sampleBatch({ completed: 28, failed: 2 }, { usage, cost: 0.4213 })
    expect(viewOf(batch, pace)).toMatchObject({ value: 30, total: 100 })
    expect(viewOf(batch, pace).text).toBe('30/100 done, 2 failed, 2.0/s, ETA 35s, 1.2M tokens, $0.42')
  })

  test('lines that wait for a limit are told apart, and expired and cancelled ones are done', () => {
    const { text } = viewOf(sampleBatch({ parked: 7, completed: 1, expired: 2, cancelled: 3 }), createPace())
    expect(text).toBe('6/100 done, 0 failed, 7 waiting for a limit')
  })

  test('the state, while it is another than running; no count while there is none', () => {
    const counts = { total: 0, completed: 0, failed: 0 }
    expect(viewOf(sampleBatch({}, { status: 'validating', request_counts: counts }), createPace())).toEqual({
      phase: 'validating',
      isLast: false,
      value: 0,
      total: 0,
      text: 'validating',
    })
    expect(viewOf(sampleBatch({ completed: 9 }, { status: 'cancelling' }), createPace()).text).toMatch(
      /^cancelling, 9\/100/,
    )
  })

  test('no time left is promised while nothing moves', () => {
    const pace = createPace()
    pace.add(0, 10)
    pace.add(10_000, 10)
    expect(viewOf(sampleBatch({ completed: 10 }), pace).text).toBe('10/100 done, 0 failed, 0.0/s')
  })

  test('the rate is that of the last half minute', () => {
    const pace = createPace()
    expect(pace.rate()).toBeNull()
    pace.add(0, 0)
    expect(pace.rate()).toBeNull()
    for (let second = 1; second <= 60; second += 1) pace.add(second * 1000, second <= 30 ? 0 : second - 30)
    expect(pace.rate()).toBe(1)
  })

  test('how far an upload is, with and without a known size', () => {
    expect(viewOfUpload(50e6, 200e6).text).toBe('uploaded 50MB of 200MB')
    expect(viewOfUpload(1_500, null).text).toBe('uploaded 1.5KB')
  })

  test.each([
    [0, '0s'],
    [46.4, '46s'],
    [200, '3m 20s'],
    [3_600, '1h'],
    [7_500, '2h 5m'],
    [97_200, '1d 3h'],
  ])('%d seconds are %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text))

  test('small costs keep their first figures', () => {
    expect([0, 0.000_000_9, 0.000_123_4, 0.0213, 12.345].map(formatCost)).toEqual([
      '$0.00',
      '$0.0000009',
      '$0.00012',
      '$0.021',
      '$12.35',
    ])
  })
})

describe('how it is shown', () => {
  test('a terminal has a bar, which gives the cursor back', () => {
    const { display: bar, drawn, said } = display(true)
    bar.show(view(25))
    bar.stop()
    const text = drawn()
    expect(text).toContain('25% 25/100 done, 0 failed')
    expect(text).toMatch(/=+-+/)
    expect(text.lastIndexOf('\u001B[?25h')).toBeGreaterThan(text.lastIndexOf('\u001B[?25l'))
    expect(said).toEqual([])
  })

  test('a line said in between stands on a row of its own', () => {
    const { display: bar, drawn, said } = display(true)
    bar.show(view(25))
    bar.say('hello')
    expect(drawn()).toMatch(/\n$/)
    expect(said).toEqual(['hello'])
    bar.stop()
  })

  test('elsewhere there are plain lines: one for each state, not for each look, none of which moves the cursor', () => {
    const { display: lines, drawn, said } = display(false)
    for (const completed of [1, 2, 3]) lines.show(view(completed))
    lines.show({ ...view(3), phase: 'finalizing', text: 'finalizing, 3/100 done' })
    lines.show(view(100, 'completed'))
    lines.stop()
    expect(said).toEqual(['1/100 done, 0 failed', 'finalizing, 3/100 done'])
    expect(drawn()).toBe('')
  })

  test('a table has columns, and nothing in it can move the cursor', () => {
    const table = formatTable([
      ['ID', 'MODEL'],
      ['batch_1', 'a\u001B[2Jb'],
    ])
    expect(table).toBe('ID       MODEL\nbatch_1  a [2Jb\n')
  })
})
