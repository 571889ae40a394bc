import type { BatchListener } from '../shared/batches/batch-listener.ts'
import { toBatch } from '../shared/batches/batch-object.ts'
import type { BatchView } from '../shared/batches/batch-record.ts'
import type { Batches } from '../shared/batches/batches.ts'
import { InvalidRequestError } from '../shared/errors.ts'
import type { SettledListener } from '../shared/jobs/settled.ts'
import { unlessAway } from './following.ts'
import { EVENTS_HEARTBEAT, formatEvent, formatPage, type OwnEvent } from './stream-events.ts'

// News of a batch can be lost; whoever follows looks again by himself.
const LOOK_MS = 2_000
const PROGRESS_EVERY_MS = 1_000

export type BatchEventsDeps = {
  batches: Pick<Batches, 'read'>
  news: BatchListener
  settled: SettledListener
  /** After so many milliseconds without an event a reader is told that the batch is under way. */
  heartbeatMs: number
}

/**
 * A batch as server-sent events: what it is (`batch.snapshot`), then changes of its state, and of its counts no more than once
 * a second (`batch.progress`), and `end`. An event's `id:` is the number of settled lines; of the last one it ends in `.end`.
 * @param view As the batch stands now.
 */
export async function* batchEvents(
  { batches, news, settled, heartbeatMs }: BatchEventsDeps,
  view: BatchView,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const { tenant, id } = view
  const watch = news.watch(id)
  const end = settled.watch(id)
  let told = view
  let toldAtMs = performance.now()
  try {
    yield formatEvent(batchEvent('batch.snapshot', view))
    for (;;) {
      if (told.isTerminal) {
        yield formatEvent(batchEvent(`batch.${told.status}`, told))
        yield formatEvent({ id: eventId(told), type: 'end', data: '{}' })
        return
      }
      // An end is told at once, all else is gathered.
      await end.wait(PROGRESS_EVERY_MS, signal)
      await watch.wait(Math.min(LOOK_MS, heartbeatMs), signal)
      if (signal.aborted) return
      const next = await unlessAway(batches.read(tenant, id))
      if (next === null) return
      if (next?.isTerminal) told = next
      else if (next && isNews(told, next)) {
        const type = next.status === told.status ? 'batch.progress' : `batch.${next.status}`
        yield formatEvent(batchEvent(type, next))
        told = next
        toldAtMs = performance.now()
      } else if (performance.now() - toldAtMs >= heartbeatMs) {
        yield EVENTS_HEARTBEAT
        toldAtMs = performance.now()
      }
    }
  } finally {
    watch.close()
    end.close()
  }
}

/**
 * Whether a reader who comes back with this `Last-Event-ID` has had all there is.
 * @throws {InvalidRequestError} unless it is one that was sent.
 */
export function hasReadAll(lastEventId: string | string[] | undefined): boolean {
  if (lastEventId === undefined || lastEventId === '') return false
  const [, number, end] = /^(\d{1,9})(\.end)?$/.exec([lastEventId].flat().join(',')) ?? []
  if (number !== undefined) return end !== undefined
  throw new InvalidRequestError('`Last-Event-ID` is no id of an event that was sent.', 'Last-Event-ID')
}

function isNews(told: BatchView, next: BatchView): boolean {
  return next.status !== told.status || settledLines(next) !== settledLines(told) || next.total !== told.total
}

function settledLines({ completed, failed, expired, cancelled }: BatchView): number {
  return completed + failed + expired + cancelled
}

function eventId(view: BatchView): string {
  return view.isTerminal ? `${settledLines(view)}.end` : String(settledLines(view))
}

function batchEvent(type: string, view: BatchView): OwnEvent {
  // A batch that has ended still is to be told of its end behind its snapshot.
  const id = type === 'batch.snapshot' ? String(settledLines(view)) : eventId(view)
  return { id, type, data: JSON.stringify({ type, batch: toBatch(view) }) }
}

/** What there is to tell of a batch now, as a page of a list. */
export function batchPage(view: BatchView): string {
  const end = view.isTerminal ? [batchEvent(`batch.${view.status}`, view)] : []
  return formatPage([batchEvent('batch.snapshot', view), ...end], false)
}
