import { setTimeout as delay } from 'node:timers/promises'
import type { JobView } from '../shared/jobs/jobs.ts'
import type { Job } from '../shared/schemas/job.ts'
import { createSseReader } from '../shared/sse.ts'
import { unlessAway, type Following } from './following.ts'
import type { Hold } from './holds.ts'
import { formatPage, type OwnEvent } from './stream-events.ts'

// A change of state has no message of its own: it is looked for so often.
const LOOK_MS = 2_000
const AGAIN_MS = 200

export type Followed = {
  following: Following
  hold: Hold
  /** The job with its result. */
  readWhole: () => Promise<JobView | null>
  /** How long nothing may come before that is told; 0: what there is now is all that is asked for. */
  quietMs: number
}

/**
 * The events of a job: what it is, then each piece of a streamed answer behind `after`, changes of its state, and its end. An
 * event's id is the number of the last piece before or in it; of the last one it ends in `.end`. Null: nothing came for a while.
 */
export async function* jobEvents(
  view: JobView,
  after: number,
  { following, hold, readWhole, quietMs }: Followed,
): AsyncGenerator<OwnEvent | null> {
  let position = after
  let told = view.job
  let toldAt = performance.now()
  yield jobEvent('job.snapshot', String(position), view.job)
  for (;;) {
    const next = await following.next(Math.min(LOOK_MS, quietMs), hold.signal)
    if (next.kind === 'gone' || (next.kind === 'quiet' && (hold.signal.aborted || quietMs === 0))) return
    if (next.kind === 'ended') {
      const whole = await unlessAway(readWhole())
      if (whole === undefined) {
        // Asked again, after a while; a stopping process does not wait for its Redis.
        if (hold.signal.aborted) return
        await delay(AGAIN_MS)
        continue
      }
      const { job } = whole ?? next.view
      yield jobEvent(`job.${job.status}`, `${position}.end`, job)
      return
    }
    const seen = following.view()?.job
    if (next.kind === 'pieces') {
      position = next.number
      yield deltaEvent(position, next.bytes)
    } else if (seen && typeOf(seen) !== typeOf(told)) {
      told = seen
      yield jobEvent(typeOf(seen), String(position), seen)
    } else if (performance.now() - toldAt >= quietMs) yield null
    else continue
    toldAt = performance.now()
  }
}

/** Events as one page of a list: what there is now. @param eventsMax More are on the next page, behind `last_id`. */
export async function pageOf(events: AsyncGenerator<OwnEvent | null>, eventsMax: number): Promise<string> {
  const page: OwnEvent[] = []
  let hasMore = false
  for await (const event of events) {
    if (event === null) continue
    hasMore = page.length >= eventsMax
    if (hasMore) break
    page.push(event)
  }
  return formatPage(page, hasMore)
}

/** Whether nothing comes behind an event. */
export function isEnd({ id }: OwnEvent): boolean {
  return id.endsWith('.end')
}

/** What a job that is not what it was before is told as. One that waits for its next retry says so. */
function typeOf({ status, queue }: Job): string {
  return status === 'queued' && queue.state === 'retrying' ? 'job.retrying' : `job.${status}`
}

function jobEvent(type: string, id: string, job: Job): OwnEvent {
  return { id, type, data: JSON.stringify({ type, job }) }
}

/** The provider's own events of some pieces: each one's data as the text that it was. */
function deltaEvent(number: number, bytes: Buffer): OwnEvent {
  const chunks = createSseReader()(bytes)
    .map(({ data }) => data)
    .filter((data) => data !== '[DONE]')
    .map(toJsonLine)
  const data = `{"type":"job.delta","number":${number},"chunks":[${chunks.join(',')}]}`
  return { id: String(number), type: 'job.delta', data }
}

// An event's data may have line breaks, which would end ours, or be no JSON.
function toJsonLine(data: string): string {
  try {
    JSON.parse(data)
  } catch {
    return JSON.stringify(data)
  }
  return data.replaceAll('\n', ' ')
}
