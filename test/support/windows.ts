import { expect } from 'vitest'
import type { Attempt, Job } from '../../shared/schemas/job.ts'
import { eventually, Hopeless } from './eventually.ts'
import type { Gateway } from './gateway.ts'

// Between the leave to call and the provider's note of the call lies whatever the machine does just then, which no test can hold
// still. So times are read from attempts: the worker notes in them when it was given leave and when it had its answer.

/** A minute's window is longer than the minute by so much: what calls may be late by. A test's shorter window has less of it. */
const MARGIN_MS = 600
/** Workers' timers may be early by a moment, and their clocks show whole milliseconds. */
const EARLY_MS = 20

type Worked = { attempts: readonly Pick<Attempt, 'started_at' | 'ended_at'>[] }

/** When the calls of these jobs or lines were begun, in order; by the machine's clock, which all its processes share. */
export function startsOf(all: readonly Worked[]): number[] {
  return all
    .flatMap(({ attempts }) => attempts.map(({ started_at: at }) => at))
    .toSorted((one, other) => one - other)
}

/**
 * No window sees more calls than the limit. A limit that each process counts for itself, that begins anew at full minutes, or
 * that is not held at all lets calls follow each other within milliseconds.
 */
export function expectWithinLimit(starts: readonly number[], limit: number, windowMs: number): void {
  for (let index = limit; index < starts.length; index += 1) {
    const spanMs = (starts[index] ?? 0) - (starts[index - limit] ?? 0)
    expect(spanMs, `call ${index + 1} after call ${index + 1 - limit}`).toBeGreaterThan(windowMs - MARGIN_MS)
  }
}

/** When an attempt had its answer. */
export function endOf({ attempts }: Worked, number = 1): number {
  const at = attempts[number - 1]?.ended_at
  if (!at) throw new Error(`attempt ${number} has not ended`)
  return at
}

/** When an attempt was begun. */
export function startOf({ attempts }: Worked, number = 1): number {
  const at = attempts[number - 1]?.started_at
  if (!at) throw new Error(`attempt ${number} was not made`)
  return at
}

/**
 * It was begun no sooner than `ms` after that moment, however late. Where an answer asks for a pause, that is the start of the
 * call which had it: the pause begins later than this, and before the worker writes down the call's end.
 */
export function expectAfter(at: number, since: number, ms: number): void {
  expect(at - since).toBeGreaterThan(ms - EARLY_MS)
}

/** The job once it has ended; it may not be seen waiting for a limit, a cooldown or a pause before. */
export function endsWithoutWait(gateway: Gateway, id: string): Promise<Job> {
  return eventually(`job ${id} ends`, async () => {
    const job = await gateway.job(id)
    if (job.queue.state === 'rate_limited') throw new Hopeless(`it waits: ${JSON.stringify(job.queue)}`)
    return job.status !== 'queued' && job.status !== 'in_progress' && job
  })
}
