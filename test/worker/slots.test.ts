import { beforeEach, expect, test } from 'vitest'
import { chunksAtOnce } from '../../worker/workers.ts'
import { createSlots, type Slots } from '../../worker/slots.ts'
import { eventually, gate } from '../support/eventually.ts'

const TOTAL = 20

let now = 0
let slots: Slots
beforeEach(() => {
  now = 0
  slots = createSlots(TOTAL, () => now)
})

const never = new AbortController().signal

/** Takes slots for lines until none is to be had at once. @returns how many. */
function fillWithLines(): number {
  const asked = new AbortController()
  let taken = 0
  while (slots.forLine(asked.signal) === true) taken++
  asked.abort()
  return taken
}

/** Starts jobs that run until they are told to end. */
function startJobs(count: number) {
  const started = { count: 0 }
  const ends = Array.from({ length: count }, () => gate())
  const jobs = ends.map(async ({ opened }) => {
    const slot = slots.forJob(60_000)
    if (!(slot === true || (await slot))) return
    started.count++
    await opened
    slots.jobDone()
  })
  return { started, end: (at: number) => ends[at]?.open(), ended: Promise.all(jobs) }
}

test('lines take all but a twentieth of the slots, so that a job that comes starts at once', async () => {
  expect(fillWithLines()).toBe(19)
  const jobs = startJobs(1)
  expect(jobs.started.count).toBe(1)
  jobs.end(0)
  await jobs.ended
})

test('jobs and lines together are never more than there are slots', async () => {
  const jobs = startJobs(TOTAL + 5)
  expect(jobs.started.count).toBe(TOTAL)
  expect(fillWithLines()).toBe(0)
  for (let at = 0; at < TOTAL + 5; at++) jobs.end(at)
  await jobs.ended
  expect(jobs.started.count).toBe(TOTAL + 5)
})

test('a slot that comes free is given to a waiting job before a line that waited longer', async () => {
  expect(fillWithLines()).toBe(19)
  const line = Promise.resolve(slots.forLine(never))
  const jobs = startJobs(2)
  expect(jobs.started.count).toBe(1)
  slots.lineDone()
  await eventually('the job starts', () => jobs.started.count === 2)
  jobs.end(0)
  jobs.end(1)
  await jobs.ended
  now += 2_000
  slots.lineDone()
  expect(await line).toBe(true)
})

test('where a job had to wait lines leave three slots in ten to jobs, for a second', async () => {
  const jobs = startJobs(TOTAL + 1)
  for (let at = 0; at <= TOTAL; at++) jobs.end(at)
  await jobs.ended
  expect(fillWithLines()).toBe(14)
  now += 1_001
  expect(fillWithLines()).toBe(5)
})

test('a line that is not wanted any more leaves the line, and its turn is the next one’s', async () => {
  fillWithLines()
  const gone = new AbortController()
  const first = Promise.resolve(slots.forLine(gone.signal))
  const second = Promise.resolve(slots.forLine(never))
  gone.abort()
  expect(await first).toBe(false)
  slots.lineDone()
  expect(await second).toBe(true)
  expect(slots.forLine(gone.signal)).toBe(false)
})

test('a single slot serves both', async () => {
  slots = createSlots(1, () => now)
  expect(slots.forLine(never)).toBe(true)
  const jobs = startJobs(1)
  expect(jobs.started.count).toBe(0)
  slots.lineDone()
  await eventually('the job starts', () => jobs.started.count === 1)
  jobs.end(0)
  await jobs.ended
  expect(slots.forLine(never)).toBe(true)
})

test('a worker takes chunks as its share of all slots, not all that there are', () => {
  expect(chunksAtOnce(500, 500)).toBe(15)
  expect(chunksAtOnce(16, 64)).toBe(3)
  expect(chunksAtOnce(1, 1)).toBe(2)
  expect(chunksAtOnce(500, 0)).toBe(15)
})

test('a process that ends begins none of the jobs that stand in line, and lets those that run end', async () => {
  const jobs = startJobs(TOTAL + 3)
  slots.drain()
  for (let at = 0; at < TOTAL; at++) jobs.end(at)
  await jobs.ended
  expect(jobs.started.count).toBe(TOTAL)
  const late = startJobs(1)
  late.end(0)
  await late.ended
  expect(late.started.count).toBe(1)
})

test('a job that finds no slot in time stands in line no longer, and who asked hears of the next free one', async () => {
  const jobs = startJobs(TOTAL)
  expect(await slots.forJob(5)).toBe(false)
  expect(slots.use().waiting).toBe(0)
  let told = 0
  slots.onRoom(() => told++)
  expect(told).toBe(0)
  const next = Promise.resolve(slots.forJob(60_000))
  jobs.end(0)
  expect(await next).toBe(true)
  expect(told).toBe(0)
  jobs.end(1)
  await eventually('it is told', () => told === 1)
  for (let at = 2; at < TOTAL; at++) jobs.end(at)
  await jobs.ended
  expect(told).toBe(1)
})

test.each([1, TOTAL])(
  'of %i slots the first that comes free is for jobs that were left to others, and a line’s when none comes',
  async (total) => {
    slots = createSlots(total, () => now)
    const lines = fillWithLines()
    while (slots.hasRoom()) void slots.forJob(0)
    now += 2_000
    let told = 0
    slots.onRoom(() => told++)
    let isGiven = false
    const line = Promise.resolve(slots.forLine(never)).then(() => (isGiven = true))
    slots.lineDone()
    expect([told, slots.use().lines, slots.hasRoom()]).toEqual([1, lines - 1, true])
    await Promise.resolve()
    expect(isGiven).toBe(false)
    now += 2_000
    await line
    expect(slots.use().lines).toBe(lines)
  },
)
