import type { BatchClaims, ChunkClaim } from '../shared/batches/batch-claims.ts'
import type { BatchEnds } from '../shared/batches/batch-ends.ts'
import type { BatchInput, BatchInputFile } from '../shared/batches/batch-input.ts'
import type { BatchError } from '../shared/batches/batch-record.ts'
import { packEntry, partOf, writeOrder } from '../shared/batches/batch-results.ts'
import { FileGoneError, SealError } from '../shared/errors.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { GiveBackPlaces, KeptPlace } from '../shared/routing/kept-places.ts'
import type { LinePlans } from '../shared/batches/line-plans.ts'
import type { PlanDependencies } from '../shared/plans/plan.ts'
import type { Sealer } from '../shared/seal.ts'
import type { StoredCredentials } from '../shared/credentials/stored-credentials.ts'
import { validateBatch } from './batch-validation.ts'
import type { EndedLine, HeldChunk, LineRecords } from './record-of-line.ts'

// A batch that was cancelled, or whose time is over, ends without knowing its lines after so many tries to read them.
const VALIDATED_MAX = 3
// Lines that are ended without a call, at once.
const MISSING_AT_ONCE = 500

/** The steps of a batch as a whole: its input is validated (`v`), and it is finished (`f`). Both are safe to do twice. */
export function createBatchSteps(deps: {
  claims: BatchClaims
  ends: BatchEnds
  records: LineRecords
  input: BatchInput
  store: FileStore
  sealer: Sealer
  planDependencies: PlanDependencies & { plans: LinePlans }
  stored: Pick<StoredCredentials, 'open'>
  /** Of lines that will not be called. */
  giveBack: GiveBackPlaces
  limits: { linesMax: number; lineBytesMax: number }
  /** Follow what they say, possibly twice. Never throw. */
  afterBegin: (batchId: string) => void
  afterEnd: (batchId: string) => void
}) {
  const { claims, ends, records, input } = deps

  /** Looks at every line before any of them runs; the batch begins or is refused. */
  async function validate(
    claim: ChunkClaim,
    openInput: () => Promise<BatchInputFile>,
    signal: AbortSignal,
  ): Promise<void> {
    if (claim.ending && claim.generation > VALIDATED_MAX) return refuse(claim, [UNVALIDATED])
    const read = await readable(async () => validateInput(claim, await openInput(), signal))
    if (!read) return refuse(claim, [UNREADABLE])
  }

  async function validateInput(claim: ChunkClaim, file: BatchInputFile, signal: AbortSignal): Promise<void> {
    const { tenant, meta, defaults, fault } = claim
    if (fault) return refuse(claim, [{ code: fault.code, message: fault.message, param: null, line: null }])
    const { customer, endpoint, allowed } = meta
    const context = { tenant, customer, endpoint, allowed }
    const keys = await claims.lineKeys(claim)
    const verdict = await validateBatch(
      { file, context, defaults, keys, limits: deps.limits, signal },
      { ...deps.planDependencies, stored: deps.stored, input },
    )
    if (verdict.kind === 'invalid') return refuse(claim, verdict.errors)
    const word = await ends.begin(claim, verdict)
    if (word === 'credentials_erased') return refuse(claim, [ERASED])
    if (word === 'begun') deps.afterBegin(claim.batchId)
  }

  async function refuse(claim: ChunkClaim, errors: readonly BatchError[]): Promise<void> {
    if ((await ends.refuse(claim, errors)) === 'ended') deps.afterEnd(claim.batchId)
  }

  /** Ends the lines that have no end yet, puts the order of all results into the store, and ends the batch. */
  async function finish(chunk: HeldChunk, openInput: () => Promise<BatchInputFile>): Promise<void> {
    const { claim, hold } = chunk
    // Their names stand in the input. Without it the batch ends all the same, with what was done.
    const isWhole = await readable(() => endMissing(chunk, openInput))
    const entries = await claims.entries(claim)
    if (hold.reason()) return
    const { tenant, batchId, meta } = claim
    const ordered = meta.isOrdered ? entries.toSorted((a, b) => a.line - b.line) : entries
    const bytes = { output: 0, error: 0 }
    for (const { outcome, length } of entries) bytes[partOf(outcome)] += length
    await writeOrder(deps, { tenant, id: batchId }, Buffer.concat(ordered.map(packEntry)))
    if ((await ends.finish(claim, bytes, isWhole ? [] : [UNREADABLE])) === 'ended') deps.afterEnd(batchId)
  }

  async function endMissing(chunk: HeldChunk, openInput: () => Promise<BatchInputFile>): Promise<void> {
    const { claim, hold } = chunk
    const missing = await claims.unsettled(claim)
    if (missing.length === 0) return
    const file = await openInput()
    const outcome = claim.ending === 'expired' ? 'expired' : 'cancelled'
    const states = await claims.states(claim, missing)
    let some: Promise<KeptPlace[]>[] = []
    const end = async ({ line, text }: { line: number; text: Buffer }) => {
      const { attempts = [], kept } = states.get(line) ?? {}
      const ended = await records.endMissing(chunk, endedLine(line, text), outcome, attempts)
      // At most once: at worst a place stays kept until its time has come.
      return kept && ended.kind === 'settled' ? [kept] : []
    }
    const endAll = async () => {
      const places = (await Promise.all(some)).flat()
      if (places.length > 0) await deps.giveBack(places)
      some = []
    }
    for await (const one of input.text(file, missing)) {
      some.push(end(one))
      if (some.length < MISSING_AT_ONCE) continue
      await endAll()
      if (hold.reason()) return
    }
    await endAll()
  }

  return { validate, finish }
}

export type BatchSteps = ReturnType<typeof createBatchSteps>

const ERASED: BatchError = {
  code: 'credentials_required',
  message:
    'The credentials in the lines of this file were erased when another batch ran it. Upload the lines again, with their credentials.',
  param: 'input_file_id',
  line: null,
}

const UNREADABLE: BatchError = {
  code: 'input_unreadable',
  message:
    'The input file is gone from the file store, or does not open with the encryption keys of this installation. What had been run is in the files of the batch.',
  param: 'input_file_id',
  line: null,
}

const UNVALIDATED: BatchError = {
  code: 'internal_error',
  message: 'The gateway failed to validate the input of this batch; its log says why.',
  param: 'input_file_id',
  line: null,
}

/** False when the input is not there, or does not open: no second try would mend that. */
async function readable(read: () => Promise<void>): Promise<boolean> {
  try {
    await read()
    return true
  } catch (error) {
    if (error instanceof FileGoneError || error instanceof SealError) return false
    throw error
  }
}

function endedLine(line: number, text: Buffer): EndedLine {
  // Validated when the batch began.
  const { custom_id: customId, body } = JSON.parse(text.toString()) as {
    custom_id: string
    body: { model?: string }
  }
  return { line, customId, model: body.model ?? null }
}
