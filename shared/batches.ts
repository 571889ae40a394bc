import type { OrderEntry } from './batch-results.ts'
import type { BatchMeta, BatchView, LineState } from './batch-record.ts'

/** A batch, before it is stored. */
export type NewBatch = BatchMeta & {
  id: string
  tenant: string
  /** How long it may take in all. */
  windowMs: number
  /** Laid under each line: credentials and gateway fields of the whole batch. */
  defaults: Record<string, unknown>
  /** As the API read it; sealed at rest. */
  webhook: object | null
  /** Keyed fingerprints of the idempotency key in its scope, and of the body it came with. */
  idempotency: { fingerprint: string; bodyHash: string } | null
}

export type CreateBatchResult =
  | { kind: 'created' | 'replayed'; id: string }
  | { kind: 'mismatch' }
  /** No such file of the tenant, or not an input for batches. */
  | { kind: 'no_file' | 'wrong_purpose' }
  /** The credentials in its lines were used up by another batch. */
  | { kind: 'credentials_erased' }

export type BatchPage = { batches: BatchView[]; hasMore: boolean }

/** The record store of batches, as the API uses it: create, read, list, cancel. */
export type Batches = {
  create: (input: NewBatch) => Promise<CreateBatchResult>
  read: (tenant: string, id: string) => Promise<BatchView | null>
  /** Newest first. Null when `after` names no batch of the tenant. */
  list: (tenant: string, page: { after?: string; limit: number }) => Promise<BatchPage | null>
  /** Nothing new of it is started from now on; what is in flight goes on. `ended`: it had ended before. */
  cancel: (tenant: string, id: string) => Promise<{ kind: 'cancelling' | 'ended'; view: BatchView } | null>
  /** Results settled so far from the entry number `from` on, and the number to go on from. Sorted by line once an ordered batch ended. */
  entries: (tenant: string, id: string, from?: number) => Promise<{ entries: OrderEntry[]; next: number }>
  /** Lines in flight or parked. */
  lineStates: (tenant: string, id: string) => Promise<Map<number, LineState>>
}
