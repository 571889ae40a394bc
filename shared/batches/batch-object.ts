import type { BatchStatus, BatchView } from './batch-record.ts'
import { roundUsd } from '../routing/prices.ts'
import type { Batch } from '../schemas/batch.ts'

/** A batch as the API and its webhooks show it: OpenAI's object, every field present, and what we say beside that. */
export function toBatch(view: BatchView): Batch {
  const endedAs = (status: BatchStatus) => (view.status === status ? toSeconds(view.endedMs) : null)
  const { usage } = view
  return {
    id: view.id,
    object: 'batch',
    endpoint: view.endpoint,
    model: view.model,
    errors: view.errors && { object: 'list', data: view.errors },
    input_file_id: view.inputFileId,
    completion_window: view.completionWindow,
    status: view.status,
    output_file_id: view.outputFileId,
    error_file_id: view.errorFileId,
    created_at: Math.floor(view.createdMs / 1000),
    in_progress_at: toSeconds(view.inProgressMs),
    expires_at: Math.floor(view.deadlineMs / 1000),
    finalizing_at: toSeconds(view.finalizingMs),
    completed_at: endedAs('completed'),
    failed_at: endedAs('failed'),
    expired_at: endedAs('expired'),
    cancelling_at: toSeconds(view.cancellingMs),
    cancelled_at: endedAs('cancelled'),
    request_counts: { total: view.total, completed: view.completed, failed: view.failed },
    usage: {
      input_tokens: usage.input,
      input_tokens_details: { cached_tokens: usage.cached },
      output_tokens: usage.output,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: usage.input + usage.output,
    },
    metadata: Object.keys(view.metadata).length === 0 ? null : view.metadata,
    progress: progressOf(view),
    cost: usage.cost === null ? null : roundUsd(usage.cost),
    customer: view.customer,
    priority: view.priority,
    concurrency: view.concurrency,
    max_errors: view.maxErrors,
    ordered_output: view.isOrdered,
    retry_of: view.retryOf,
    result_expires_at: toSeconds(view.retainedUntilMs),
    warnings: view.warnings,
  }
}

function progressOf(view: BatchView): Batch['progress'] {
  const { completed, failed, expired, cancelled, parked } = view
  // What a chunk has taken may be counted again by the time that it is read: never below nothing.
  const open = Math.max(0, view.total - completed - failed - expired - cancelled)
  const running = Math.min(view.inProgress, open)
  const queued = Math.max(0, open - running - parked)
  return { queued, in_progress: running, parked, completed, failed, expired, cancelled }
}

function toSeconds(milliseconds: number | null): number | null {
  return milliseconds === null ? null : Math.floor(milliseconds / 1000)
}
