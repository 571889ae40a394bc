import type { Claims } from '../shared/jobs/claims.ts'
import type { Logger } from '../shared/log.ts'

/** Why a running job is told to stop. */
export type StopReason = 'cancelled' | 'expired' | 'lost' | 'drained'

/** A job's stay in this process. */
export type Hold = {
  signal: AbortSignal
  /** Why `signal` aborted; null while it has not. */
  reason: () => StopReason | null
  leave: () => void
}

type Held = {
  token: string
  stop: (reason: StopReason) => void
  cancel: () => void
  ended: Promise<void>
}

const RENEW_AT_ONCE_MAX = 500

/**
 * The jobs this process is running (or the chunks of batches), and the one clock that keeps their leases: renewed together, three times a lease.
 * When no renewal was confirmed for a whole lease, another worker may have taken them over, so their calls are aborted;
 * BullMQ's own lock can't be relied on for that (it may only emit an error).
 */
export class RunningJobs {
  readonly #claims: Pick<Claims, 'renew'>
  readonly #leaseMs: number
  readonly #log: Logger
  readonly #held = new Map<string, Held>()
  #timer: NodeJS.Timeout | null = null
  #isRenewing = false
  #confirmedAt = performance.now()

  constructor(claims: Pick<Claims, 'renew'>, leaseMs: number, log: Logger) {
    this.#claims = claims
    this.#leaseMs = leaseMs
    this.#log = log
  }

  get size(): number {
    return this.#held.size
  }

  start(): void {
    this.#timer = setInterval(() => void this.#tick(), Math.max(20, this.#leaseMs / 3))
  }

  /** Ends the clock; running jobs keep what lease they have. */
  close(): void {
    if (this.#timer) clearInterval(this.#timer)
  }

  /** The run of this job in this process, when there is one: BullMQ may hand the same job out again after a stall. */
  find(jobId: string): Promise<void> | null {
    return this.#held.get(jobId)?.ended ?? null
  }

  /**
   * @param deadlineInMs Time left to the job; then it is stopped as expired.
   * @param onCancel What a cancel does; without it the job is stopped.
   */
  enter(jobId: string, token: string, deadlineInMs: number, onCancel?: () => void): Hold {
    if (this.#held.size === 0) this.#confirmedAt = performance.now()
    const controller = new AbortController()
    const ended = Promise.withResolvers<void>()
    let stopReason: StopReason | null = null
    const stop = (reason: StopReason) => {
      stopReason ??= reason
      controller.abort()
    }
    // setTimeout overflows above 2^31 ms (24.8 days): such a job is snoozed or swept long before.
    const timer = setTimeout(() => stop('expired'), Math.min(Math.max(0, deadlineInMs), 2 ** 31 - 1))
    const cancel = onCancel ?? (() => stop('cancelled'))
    this.#held.set(jobId, { token, stop, cancel, ended: ended.promise })
    return {
      signal: controller.signal,
      reason: () => stopReason,
      leave: () => {
        clearTimeout(timer)
        if (this.#held.get(jobId)?.token === token) this.#held.delete(jobId)
        ended.resolve()
      },
    }
  }

  /** The job is to be cancelled. */
  cancel(jobId: string): void {
    this.#held.get(jobId)?.cancel()
  }

  stop(jobId: string, reason: StopReason): void {
    this.#held.get(jobId)?.stop(reason)
  }

  stopAll(reason: StopReason): void {
    for (const { stop } of this.#held.values()) stop(reason)
  }

  /** Resolves when no job runs any more. */
  async idle(): Promise<void> {
    while (this.#held.size > 0) await Promise.all([...this.#held.values()].map(({ ended }) => ended))
  }

  async #tick(): Promise<void> {
    if (this.#held.size === 0) return
    if (performance.now() - this.#confirmedAt > this.#leaseMs) {
      this.#log.warn(
        { jobs: this.#held.size },
        'No lease could be renewed in time; the calls in flight are given up',
      )
      this.stopAll('lost')
      this.#confirmedAt = performance.now()
      return
    }
    if (this.#isRenewing) return
    this.#isRenewing = true
    try {
      await this.#renewAll()
    } catch (error) {
      this.#log.warn({ err: error }, 'Leases could not be renewed; trying again')
    } finally {
      this.#isRenewing = false
    }
  }

  async #renewAll(): Promise<void> {
    const sentAt = performance.now()
    const held = [...this.#held].map(([id, { token }]) => ({ id, token }))
    for (let at = 0; at < held.length; at += RENEW_AT_ONCE_MAX) {
      const words = await this.#claims.renew(held.slice(at, at + RENEW_AT_ONCE_MAX))
      for (const [id, word] of words) {
        const token = held.find((entry) => entry.id === id)?.token
        // It may have settled meanwhile, and even be back under a new token.
        if (this.#held.get(id)?.token !== token) continue
        if (word === 'lost') this.stop(id, 'lost')
        else this.cancel(id)
      }
    }
    this.#confirmedAt = sentAt
  }
}
