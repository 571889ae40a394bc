import type { Keys } from '../keys.ts'

/** The keys of a step on one batch, in the order of `lua/include/batch-step.lua`. */
export function batchStepKeys(
  keys: Keys,
  { batchId, chunk, tenant, owner }: { batchId: string; chunk: string; tenant: string; owner: string },
): string[] {
  return [
    keys.batch(batchId), keys.batchChunk(batchId, chunk), keys.batchLines(batchId), keys.batchDone(batchId),
    keys.batchOrder(batchId), keys.batchKeys(batchId), keys.batchParked(batchId), keys.batchParkedDue, keys.batchWindow,
    keys.batchBusy, keys.batchTenants, keys.batchOwners(tenant), keys.batchWaiting(tenant, owner),
    keys.batchChunk(batchId, 'f'),
  ] // oxfmt-ignore
}
