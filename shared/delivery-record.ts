import { z } from 'zod'

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

/**
 * `gone`: the receiver answered 410. `disabled`: its endpoint was disabled or deleted before it was delivered. All but
 * `pending` are final until it is sent again.
 */
export const DeliveryState = z.enum(['pending', 'delivered', 'exhausted', 'gone', 'disabled'])
export type DeliveryState = z.infer<typeof DeliveryState>

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
