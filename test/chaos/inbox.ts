import { startReceiver } from '../support/receiver.ts'
import { hash } from './random.ts'

/** What was told of one job or batch. */
export type Told = {
  /** `webhook-id`s of its end: one is right, however often it came. */
  ids: Set<string>
  types: Set<string>
  count: number
  accepted: number
  /** `performance.now()` of the first of these. */
  at: number
}

const ENDS = /^(job|batch)\.(completed|failed|cancelled|expired)$/

/** Reads a job or batch as anybody may at that moment; undefined: it could not be read. */
export type ReadStatus = (id: string) => Promise<string | undefined>

/** A webhook receiver that remembers what was told of whom, and looks now and then whether it can be read already. */
export async function startInbox() {
  const told = new Map<string, Told>()
  const early: { text: string; at: number }[] = []
  let isDown = false
  let read: ReadStatus | null = null

  const receiver = await startReceiver(async ({ headers, event }) => {
    receiver.received.length = 0
    const id = String(event.data['id'])
    if (!ENDS.test(event.type)) return 200
    const at = performance.now()
    const one = told.get(id) ?? { ids: new Set(), types: new Set(), count: 0, accepted: 0, at }
    told.set(id, one)
    one.ids.add(String(headers['webhook-id']))
    one.types.add(event.type)
    one.count += 1
    if (isDown) return 503
    const status = hash(id) % 8 === 0 ? await read?.(id) : undefined
    if (status !== undefined && !event.type.endsWith(status))
      early.push({ text: `${id} was told ${event.type} and is ${status}`, at })
    one.accepted += 1
    return 200
  })

  return {
    url: receiver.url,
    told,
    /** Whether its end was told, and taken. */
    isTold: (id: string) => (told.get(id)?.accepted ?? 0) > 0,
    /** Ends that were told before they could be read. */
    early,
    /** Whether everything that comes is refused. */
    down(on: boolean): void {
      isDown = on
    },
    readBy(next: ReadStatus): void {
      read = next
    },
    close: () => receiver.close(),
  }
}

export type Inbox = Awaited<ReturnType<typeof startInbox>>
