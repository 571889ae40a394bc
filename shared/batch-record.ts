import type { Progress } from './claims.ts'
import type { Attempt, QueueState } from './schemas/job.ts'

/** Batch states, in OpenAI's own words. The last four are terminal. */
export type BatchStatus =
  | 'validating'
  | 'in_progress'
  | 'finalizing'
  | 'cancelling'
  | 'completed'
  | 'failed'
  | 'expired'
  | 'cancelled'

/** Why a batch ends without all of its lines having run. */
export type BatchEnding = 'cancelled' | 'expired' | 'max_errors'

/** What is wrong with an input; `line` is 1-based. Nothing of the line's content is repeated. */
export type BatchError = { code: string; message: string; param: string | null; line: number | null }

/** What does not change after create, kept as one JSON field. Nothing in it is secret. */
export type BatchMeta = {
  /** A path, or `*` for mixed lines. */
  endpoint: string
  inputFileId: string
  completionWindow: string
  metadata: Record<string, string>
  customer: string | null
  priority: 'high' | 'normal' | 'low'
  concurrency: number | null
  maxErrors: number | null
  isOrdered: boolean
  /** Seconds that output files are kept; null: as all batch files. */
  outputExpiresAfterS: number | null
  retryOf: string | null
  warnings: string[]
}

/** Sums over settled lines. `cost` in USD, null while none is known. */
export type BatchUsage = { input: number; cached: number; output: number; cost: number | null }

/** A batch, as its owner may see it. Times in Unix milliseconds. */
export type BatchView = BatchMeta & {
  id: string
  tenant: string
  status: BatchStatus
  isTerminal: boolean
  ending: BatchEnding | null
  /** Of a refused input, or why it ended early. */
  errors: BatchError[] | null
  /** When all lines have the same. */
  model: string | null
  createdMs: number
  /** Its deadline. */
  deadlineMs: number
  inProgressMs: number | null
  finalizingMs: number | null
  cancellingMs: number | null
  /** When it reached its terminal state. */
  endedMs: number | null
  /** Until when its record is kept, once it ended. */
  retainedUntilMs: number | null
  /** Lines: all, those in each end, those in flight or about to be, those that wait for a time. */
  total: number
  completed: number
  failed: number
  expired: number
  cancelled: number
  inProgress: number
  parked: number
  usage: BatchUsage
  outputFileId: string | null
  errorFileId: string | null
}

/** What is known of a line that is in flight or parked; written before each call, so that it stays known whatever dies. */
export type LineState = {
  attempts: Attempt[]
  attemptsMade: number
  progress: Progress | null
  /** Claims of it that ended without a word with a call in flight. */
  crashes: number
  queueState: QueueState
}
