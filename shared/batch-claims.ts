import type { Redis } from 'ioredis'
import type { BatchEnding, BatchError, BatchMeta, LineState } from './batch-record.ts'
import type { FedChunk } from './batch-queue.ts'
import type { OrderEntry } from './batch-results.ts'
import type { Keys } from './keys.ts'
import type { Usage } from './schemas/job.ts'
import type { Sealer } from './seal.ts'

/** Where the two result logs of a process stand. */
export type LogPositions = { output: number; error: number }

/** A chunk in a worker's hands. */
export type ChunkClaim = {
  batchId: string
  chunk: string
  /** `<batch> <chunk>`: by it leases are renewed. */
  id: string
  token: string
  tenant: string
  owner: string
  meta: BatchMeta
  /** Laid under each line: credentials and gateway fields of the whole batch; empty when there are none. Sealed at rest. */
  defaults: Record<string, unknown>
  ending: BatchEnding | null
  /** 0-based lines to run, in order; none for `v` and `f`. */
  lines: number[]
  /** How many of them at once. */
  width: number
  /** Of the whole batch; 0 before validation. */
  total: number
  /** Number of this process's result logs of the batch. */
  log: number
  /** Logs of claims that ended without a word, and from where on they may hold results that were not settled. */
  predecessors: { log: number; from: LogPositions }[]
  /** Of lines that were in flight or parked before. */
  states: Map<number, LineState>
  /** Milliseconds, by this process's clock. */
  deadlineMs: number
}

export type ChunkClaimResult =
  | { kind: 'claimed'; claim: ChunkClaim }
  | { kind: 'gone' | 'stale' | 'held' }
  /** Claimed, but a sealed field does not open. */
  | { kind: 'unreadable'; batchId: string; chunk: string; token: string; error: unknown }

/** One line's end. Its result must be durable. */
export type LineEnd = {
  by: 'complete' | 'claim'
  entry: OrderEntry
  usage: Usage | null
  cost: number | null
}

export type SettleWord = 'settled' | 'ended' | 'fenced'

/** What a worker's step leaves for others to do. */
export type AfterStep = {
  /** To be enqueued: the finish of a batch that has nothing more in flight. */
  finish: FedChunk | null
  /** Tenants with batches that wait for room. */
  tenantsWaiting: number
}

export type BatchClaimsDeps = {
  redis: Redis
  keys: Keys
  sealer: Sealer
  leaseMs: number
  /** Follows every step that frees room or ends the last line. Never throws. */
  afterStep: (after: AfterStep) => void
}

export type BatchClaims = {
  /** @param at Where this process's logs of the batch stand now; zeros when it has none open. */
  claim: (fed: FedChunk, at: { workerId: string; positions: LogPositions }) => Promise<ChunkClaimResult>
  renew: (held: readonly { id: string; token: string }[]) => Promise<Map<string, 'lost' | 'cancelling'>>
  start: (claim: ChunkClaim, line: number, state: LineState) => Promise<'started' | 'fenced' | 'cancelling'>
  settle: (claim: ChunkClaim, end: LineEnd) => Promise<SettleWord>
  park: (claim: ChunkClaim, line: number, waitMs: number, state: LineState) => Promise<'parked' | 'ended' | 'fenced' | 'cancelling'>
  /** Random keys of lines [from, from + count), packed; null when no line has credentials of its own. */
  lineKeys: (claim: ChunkClaim) => ((from: number, count: number) => Promise<Buffer>) | null
  /** The input is valid: the batch starts, or ends at once when it was stopped meanwhile. */
  begin: (claim: ChunkClaim, input: { lines: number; model: string | null }) => Promise<'begun' | 'fenced' | 'credentials_erased'>
  /** The input is not valid: the batch has failed. */
  refuse: (claim: ChunkClaim, errors: readonly BatchError[]) => Promise<'refused' | 'fenced'>
  /** Of step f: lines that have not settled, in order, from Redis' bitmap. */
  unsettled: (claim: ChunkClaim) => Promise<number[]>
  entries: (claim: ChunkClaim) => Promise<Buffer>
  /** All lines are settled and the order is in the store: the batch ends. */
  finish: (claim: ChunkClaim, parts: { outputBytes: number; errorBytes: number }) => Promise<'finished' | 'fenced'>
}
