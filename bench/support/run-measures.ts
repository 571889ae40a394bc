import { createChildren } from './children.ts'
import type { Figure, Measure, Measured, Size } from './measure.ts'

/** What a measure found, or why it found nothing. */
export type Outcome = { title: string; seconds: number } & (
  | { kind: 'measured'; measured: Measured }
  | { kind: 'failed'; reason: string }
)

/**
 * Runs measures one after the other; each ends all that it started before the next begins. One that fails is told of, and
 * the others are run all the same.
 * @param note Told after each of all outcomes so far.
 */
export async function runMeasures(
  measures: readonly Measure[],
  size: Size,
  note: (outcomes: Record<string, Outcome>) => void,
): Promise<Record<string, Outcome>> {
  const outcomes: Record<string, Outcome> = {}
  for (const measure of measures) {
    console.log(`\n== ${measure.title} (${measure.name})`)
    outcomes[measure.name] = await runOne(measure, size)
    note(outcomes)
  }
  return outcomes
}

async function runOne(measure: Measure, size: Size): Promise<Outcome> {
  const { title } = measure
  const startedAt = performance.now()
  const seconds = () => Math.round((performance.now() - startedAt) / 1000)
  const children = createChildren()
  try {
    const measured = await measure.run(children, size)
    return { title, seconds: seconds(), kind: 'measured', measured }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    console.log(`  It failed: ${reason}`)
    return { title, seconds: seconds(), kind: 'failed', reason }
  } finally {
    await children.stop()
  }
}

/** All figures of all measures; one that failed is a figure that missed everything. */
export function figuresOf(outcomes: Record<string, Outcome>): Figure[] {
  return Object.values(outcomes).flatMap((outcome): Figure[] => {
    if (outcome.kind === 'measured') return outcome.measured.figures
    const [note = ''] = outcome.reason.split('\n')
    return [
      { text: outcome.title, reached: Number.NaN, unit: '', aim: { atLeast: 1 }, note: `failed: ${note}` },
    ]
  })
}
