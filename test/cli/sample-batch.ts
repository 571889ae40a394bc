import { Batch } from '../../shared/schemas/batch.ts'

type Counts = Partial<Batch['progress']>

/** A batch of 100 lines that runs, with these lines done, and whatever else is said. */
export function sampleBatch(progress: Counts = {}, other: Partial<Batch> = {}): Batch {
  const { completed = 0, failed = 0 } = progress
  return Batch.parse({
    id: 'batch_1',
    object: 'batch',
    endpoint: '/v1/chat/completions',
    model: null,
    errors: null,
    input_file_id: 'file-1',
    completion_window: '24h',
    status: 'in_progress',
    output_file_id: null,
    error_file_id: null,
    created_at: 1_700_000_000,
    in_progress_at: null,
    expires_at: 1_700_086_400,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 100, completed, failed },
    usage: {
      input_tokens: 0,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: 0,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 0,
    },
    metadata: null,
    progress: {
      queued: 0,
      in_progress: 0,
      parked: 0,
      completed: 0,
      failed: 0,
      expired: 0,
      cancelled: 0,
      ...progress,
    },
    cost: null,
    customer: null,
    priority: 'normal',
    concurrency: null,
    max_errors: null,
    ordered_output: false,
    retry_of: null,
    result_expires_at: null,
    warnings: [],
    ...other,
  })
}
