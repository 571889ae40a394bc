import type { BatchView } from '../shared/batches/batch-record.ts'
import type { Batches } from '../shared/batches/batches.ts'
import { GoneError, NotFoundError, type GatewayError } from '../shared/errors.ts'
import type { Ids } from '../shared/ids.ts'

/** 404 for an id that is unknown or another tenant's, 410 for one of the tenant's own that is not kept any more. */
export function missingBatch(ids: Ids, tenant: string, id: string): GatewayError {
  if (!ids.isOwnBatchId(tenant, id)) return new NotFoundError('batch')
  return new GoneError('This batch has ended and is no longer kept.')
}

/** A tenant's batch. @throws {NotFoundError} {@link missingBatch} */
export async function readOwnBatch(
  { batches, ids }: { batches: Pick<Batches, 'read'>; ids: Ids },
  tenant: string,
  id: string,
): Promise<BatchView> {
  // Only our own ids are made into keys of Redis.
  const view = ids.isOwnBatchId(tenant, id) ? await batches.read(tenant, id) : null
  if (!view) throw missingBatch(ids, tenant, id)
  return view
}
