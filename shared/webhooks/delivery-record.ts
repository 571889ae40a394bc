import { z } from 'zod'
import type { DeliveryState } from '../schemas/webhook.ts'

/** Tries that are shown of one delivery; as many are kept, since it can be sent again for as long as it is kept. */
export const ATTEMPTS_SHOWN_MAX = 50

/** One try of a delivery. Never the receiver's answer, whose body could be read back through here. */
export type DeliveryAttempt = {
  /** 1-based, over all rounds of a delivery that was sent again. */
  number: number
  startedMs: number
  /** Milliseconds until the answer; null while the try runs, or when its worker died. */
  durationMs: number | null
  statusCode: number | null
  /** Why no answer came, such as `timeout_total`. */
  error: string | null
}

/** Where an event of a job's or batch's own webhook goes and what signs it. Sealed at rest. */
export const DeliveryHook = z.object({ url: z.string(), secret: z.string() })
export type DeliveryHook = z.infer<typeof DeliveryHook>

/** A webhook endpoint, whose address and secrets are read anew for each try; or a job's own webhook, kept with the delivery. */
export type DeliveryTarget = { kind: 'endpoint'; id: string } | { kind: 'url'; hook: DeliveryHook }

export type DeliveryInput = {
  /** `ids.deliveryId(eventId, endpointId)`; of a job's or batch's own webhook `'job'` or `'batch'` in place of the endpoint. */
  id: string
  tenant: string
  eventId: string
  type: string
  target: DeliveryTarget
  /** The exact text that is signed and sent, where it is not the event's own: with a result, or a sample. Erased once accepted. */
  body?: string
  /** How long a job is kept after its events were accepted, in milliseconds; a batch's record hangs on none. */
  resultTtlMs?: number
  /** Where the trace of what it tells of goes on. */
  trace?: string | undefined
  /** A sample that somebody waits for: one try, before all others; its end is published under its id. */
  isTest?: boolean
}

/** How a delivery stands, without what it carries. Times are Unix milliseconds. */
export type DeliveryView = {
  id: string
  tenant: string
  /** The job, batch or endpoint that it is about. */
  subjectId: string
  eventId: string
  type: string
  /** Null: a job's or batch's own webhook. */
  endpointId: string | null
  state: DeliveryState
  createdMs: number
  /** Null when it has ended; in the past while it is tried, or its target takes no more at once. */
  nextAttemptMs: number | null
  /** The newest of them, at most fifty. */
  attempts: DeliveryAttempt[]
}

/** Fields of a record that say how it stands; of its tries, those that `attemptFields` names. */
export const DELIVERY_FIELDS = [
  'tenant', 'subject', 'event_id', 'type', 'target', 'state', 'created', 'due', 'attempts',
] as const // oxfmt-ignore

/** Fields of the newest tries, as many as are shown. */
export function attemptFields(count: number): string[] {
  const shown = Math.min(count, ATTEMPTS_SHOWN_MAX)
  return Array.from({ length: shown }, (_, index) => `a${count - shown + index + 1}`)
}

/** A try as its record holds it: short, since a record of short values takes a third of the memory. */
export function noteOf({ startedMs, durationMs, statusCode, error }: DeliveryAttempt): string {
  return [startedMs, durationMs ?? '-', statusCode ?? '-', error ?? '-'].join(' ')
}

/** Reads a note of a try; one that runs, or whose worker died, has only its start. */
export function parseNote(number: number, note: string): DeliveryAttempt {
  const [started, duration, status, error] = note.split(' ')
  return {
    number,
    startedMs: Number(started),
    durationMs: numberOrNull(duration),
    statusCode: numberOrNull(status),
    error: error === undefined || error === '-' ? null : error,
  }
}

function numberOrNull(text: string | undefined): number | null {
  return text === undefined || text === '-' ? null : Number(text)
}
