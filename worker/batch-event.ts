import { toBatch } from '../shared/batches/batch-object.ts'
import type { BatchView } from '../shared/batches/batch-record.ts'
import type { NewEvent } from '../shared/webhooks/events.ts'
import type { BatchEvent } from '../shared/schemas/batch.ts'

/**
 * What is told of a batch, in OpenAI's envelope: as much of the batch as says how it stands.
 * @param createdMs When that happened; of an end nothing else in it depends on when it is built, so an end that is announced
 * twice is told in the same bytes.
 */
export function batchEvent(id: string, type: BatchEvent, view: BatchView, createdMs: number): NewEvent {
  const batch = toBatch(view)
  const body = JSON.stringify({
    id,
    object: 'event',
    created_at: Math.floor(createdMs / 1000),
    type,
    data: {
      id: batch.id,
      object: 'batch',
      status: batch.status,
      ...(batch.customer === null ? {} : { customer: batch.customer }),
      metadata: batch.metadata,
      request_counts: batch.request_counts,
      progress: batch.progress,
      usage: batch.usage,
      cost: batch.cost,
      output_file_id: batch.output_file_id,
      error_file_id: batch.error_file_id,
      ...(batch.errors ? { errors: batch.errors } : {}),
    },
  })
  return { id, tenant: view.tenant, type, subjectId: view.id, body }
}
