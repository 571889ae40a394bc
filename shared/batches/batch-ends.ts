import type { Redis } from 'ioredis'
import { afterStep, type AfterStep, type ChunkClaim } from './batch-claims.ts'
import { batchStepKeys } from './batch-keys.ts'
import type { BatchEnding, BatchError, BatchMeta } from './batch-record.ts'
import type { Ids } from '../ids.ts'
import type { Keys } from '../keys.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'
import { UNCLAIMED_MS } from '../jobs/window.ts'

// The sweeper looks at an expired batch again when its workers have had time to end it.
const LOOK_AGAIN_MS = 5_000

/** Bytes of a batch's two files; 0: there is none. */
export type PartBytes = { output: number; error: number }

/**
 * The moves of a batch as a whole: it begins, is refused, is stopped, ends.
 * @param deps.retentionMs How long an ended batch's record, and its files unless it says otherwise, are kept.
 * @param deps.afterStep As for `createBatchClaims`.
 */
export function createBatchEnds(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  ids: Ids
  retentionMs: number
  afterStep: (after: AfterStep) => void
}) {
  const { redis, keys, sealer, ids } = deps
  const beginBatch = createScript(redis, 'begin-batch')
  const endBatch = createScript(redis, 'end-batch')
  const stopBatch = createScript(redis, 'stop-batch')

  /** The input is valid: the batch starts, or ends at once when it was stopped meanwhile. */
  async function begin(
    claim: ChunkClaim,
    input: { lines: number; model: string | null },
  ): Promise<'begun' | 'fenced' | 'credentials_erased'> {
    const { batchId, chunk, token, meta } = claim
    const reply = await beginBatch(
      [...batchStepKeys(keys, claim), keys.file(meta.inputFileId), keys.fileKeys(meta.inputFileId)],
      ['', batchId, chunk, token, UNCLAIMED_MS, input.lines, input.model ?? '', keys.batchChannel(batchId)],
    )
    const [kind, finishes = 0, tenantsWaiting = 0] = reply as [Buffer, number?, number?] // see the script
    deps.afterStep(afterStep(batchId, finishes, tenantsWaiting))
    return kind.toString() as 'begun' | 'fenced' | 'credentials_erased'
  }

  /** The input is not valid: the batch has failed. */
  async function refuse(claim: ChunkClaim, errors: readonly BatchError[]): Promise<'ended' | 'fenced'> {
    const word = await end(claim, JSON.stringify(errors), { output: 0, error: 0 })
    return word === 'ended' ? 'ended' : 'fenced'
  }

  /**
   * All lines are settled and their order is in the store: the batch ends. `unsettled`: some are not.
   * @param errors Why some never will be.
   */
  function finish(
    claim: ChunkClaim,
    bytes: PartBytes,
    errors: readonly BatchError[] = [],
  ): Promise<'ended' | 'fenced' | 'unsettled'> {
    return end(claim, errors.length > 0 ? JSON.stringify(errors) : '', bytes)
  }

  async function end(
    claim: ChunkClaim,
    errors: string,
    bytes: PartBytes,
  ): Promise<'ended' | 'fenced' | 'unsettled'> {
    const { batchId, chunk, token, tenant, meta } = claim
    const { recordMs, filesMs } = keptMs(meta, deps.retentionMs)
    const output = ids.outputFileId(batchId, 'output')
    const error = ids.outputFileId(batchId, 'error')
    const nameOf = (fileId: string, part: string) =>
      sealer.seal({ tenant, kind: 'file', id: fileId, field: 'name' }, `${batchId}_${part}.jsonl`)
    const reply = await endBatch(
      [
        ...batchStepKeys(keys, claim), keys.batchDue, keys.announce, keys.file(meta.inputFileId), keys.fileIndex(tenant),
        keys.filesDue, keys.filesUse, keys.file(output), keys.file(error), keys.fileKeys(meta.inputFileId),
        keys.endpointIndex(tenant),
      ], // oxfmt-ignore
      [
        '', batchId, chunk, token, errors, recordMs, filesMs, keys.batchChannel(batchId),
        keys.settledChannel, output, error, bytes.output, bytes.error, nameOf(output, 'output'), nameOf(error, 'error'),
        keys.accountPrefix,
      ], // oxfmt-ignore
    )
    return String(reply) as 'ended' | 'fenced' | 'unsettled' // see the script
  }

  /** Nothing new of it is started from now on. */
  async function stop(
    { id, tenant, owner }: { id: string; tenant: string; owner: string },
    ending: Exclude<BatchEnding, 'max_errors'>,
  ): Promise<'gone' | 'ended' | 'stopping'> {
    const reply = await stopBatch(
      [...batchStepKeys(keys, { batchId: id, chunk: 'v', tenant, owner }), keys.batchDue],
      ['', id, 'v', ending, UNCLAIMED_MS, keys.batchChannel(id), keys.batchStopChannel, LOOK_AGAIN_MS],
    )
    const [kind, finishes = 0] = reply as [Buffer, number?] // see the script
    deps.afterStep(afterStep(id, finishes, 0))
    return kind.toString() as 'gone' | 'ended' | 'stopping'
  }

  return { begin, refuse, finish, stop }
}

/** How long the record of an ended batch, and its files, are kept. The files are told from its logs, so they never outlive it. */
function keptMs({ outputExpiresAfterS, keptAtMost }: BatchMeta, retentionMs: number) {
  const { batchS = null, filesS = null } = keptAtMost ?? {}
  const ofBatch = Math.min(retentionMs, (batchS ?? Infinity) * 1000)
  const asked = outputExpiresAfterS === null ? ofBatch : outputExpiresAfterS * 1000
  const filesMs = Math.min(asked, (filesS ?? Infinity) * 1000)
  return { recordMs: Math.max(ofBatch, filesMs), filesMs }
}

export type BatchEnds = ReturnType<typeof createBatchEnds>
