import type { BatchClaims, ChunkClaim } from '../shared/batches/batch-claims.ts'
import type { BatchEnds } from '../shared/batches/batch-ends.ts'
import type { BatchInput } from '../shared/batches/batch-input.ts'
import {
  namedByLine,
  planOfLine,
  type FaultyLine,
  type InputLine,
  type LineContext,
  type LinePlan,
} from '../shared/batches/batch-lines.ts'
import type { FedChunk } from '../shared/batches/batch-queue.ts'
import { cutEchoes } from '../shared/settings/echoes.ts'
import { FileGoneError, GatewayError, InvalidRequestError, SealError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import type { LinePlans } from '../shared/batches/line-plans.ts'
import type { PlanDependencies } from '../shared/plans/plan.ts'
import type { ResultLogs } from '../shared/batches/result-log.ts'
import type { StoredCredentials } from '../shared/credentials/stored-credentials.ts'
import { NO_TRACING, type Tracing } from '../shared/tracing.ts'
import type { BatchPlace, BatchPlaces } from './batch-places.ts'
import type { BatchSteps } from './batch-steps.ts'
import { createChunkCredentials, type ChunkCredentials } from './chunk-credentials.ts'
import type { Completion } from './completion.ts'
import { workOf } from './line-work.ts'
import { persist, persistUnlessStopped, RedisAwayError } from './persist.ts'
import type { EndedLine, HeldChunk, LineRecords } from './record-of-line.ts'
import type { RunningJobs } from './running.ts'
import type { Slots } from './slots.ts'

// As for jobs: a worker that ends can't wait long for Redis.
const HAND_BACK_MS = 3_000

/**
 * Runs chunks of batches: one is claimed and held as a job is, its lines go through the same loop as jobs, each in a slot of
 * this process while it runs, and each is settled on its own.
 */
export function createBatchRunner(deps: {
  claims: BatchClaims
  ends: BatchEnds
  /** The chunks that this process holds. */
  chunks: RunningJobs
  places: BatchPlaces
  records: LineRecords
  results: ResultLogs
  steps: BatchSteps
  stored: Pick<StoredCredentials, 'open'>
  input: BatchInput
  slots: Slots
  planDependencies: PlanDependencies & { plans: LinePlans }
  work: Completion['work']
  tracing?: Tracing
  /** How long calls in flight may go on in a batch that is cancelled, in milliseconds. */
  cancelMs: number
  log: Logger
}) {
  const { claims, chunks, places, records, log, tracing = NO_TRACING } = deps
  /** How to start nothing new of the chunks of a batch. */
  const stops = new Map<string, { batchId: string; stop: AbortController }>()
  let isDraining = false

  async function run(fed: FedChunk): Promise<void> {
    const own = chunks.find(`${fed.batchId} ${fed.chunk}`)
    if (own) return own
    if (isDraining) return
    const place = places.enter(fed.batchId)
    try {
      const at = { workerId: place.writer, positions: place.positions() }
      const result = await claims.claim(fed, at)
      if (result.kind !== 'claimed') return
      const { claim } = result
      await tracing.piece({ ...claim, trace: claim.meta.trace }, () => runClaimed(claim, place))
    } catch (error) {
      if (!(error instanceof RedisAwayError)) throw error
    } finally {
      place.leave()
    }
  }

  async function runClaimed(claim: ChunkClaim, place: BatchPlace): Promise<void> {
    const isOfLines = claim.chunk !== 'v' && claim.chunk !== 'f'
    const stop = new AbortController()
    let grace: NodeJS.Timeout | null = null
    const endSoon = () => {
      stop.abort()
      grace ??= setTimeout(() => chunks.stop(claim.id, 'cancelled'), deps.cancelMs)
    }
    // The steps of a batch as a whole have their work to do also after its deadline.
    const leftMs = isOfLines ? claim.deadlineMs - Date.now() : Number.POSITIVE_INFINITY
    const hold = chunks.enter(claim.id, claim.token, leftMs, isOfLines ? endSoon : () => undefined)
    hold.signal.addEventListener('abort', () => stop.abort())
    stops.set(claim.id, { batchId: claim.batchId, stop })
    if (isDraining || (isOfLines && claim.ending)) stop.abort()
    const chunk: HeldChunk = {
      claim,
      hold,
      results: place.results(claim),
      stop,
      open: new Set(claim.lines),
    }
    try {
      if (claim.chunk === 'v') await deps.steps.validate(claim, () => place.input(claim), hold.signal)
      else if (claim.chunk === 'f') await deps.steps.finish(chunk, () => place.input(claim))
      else await runLines(chunk, place)
    } catch (error) {
      // What breaks when it was told to stop is taken up by others.
      if (hold.reason() === null) throw error
    } finally {
      if (grace) clearTimeout(grace)
      stops.delete(claim.id)
      hold.leave()
    }
  }

  async function runLines(chunk: HeldChunk, place: BatchPlace): Promise<void> {
    const { claim, hold, open } = chunk
    await settleRemains(chunk)
    const isWhole = open.size === 0 || chunk.stop.signal.aborted || (await runOpen(chunk, place))
    if (open.size === 0 || !isWhole || hold.reason() === 'lost') return
    const givenUpAt = performance.now() + HAND_BACK_MS
    const giveBack = async () => {
      // Else they would be cut again until the sweeper has seen the deadline as well.
      if (hold.reason() === 'expired') await deps.ends.stop({ ...claim, id: claim.batchId }, 'expired')
      await claims.leave(claim, open)
    }
    await persist(giveBack, () => performance.now() > givenUpAt)
  }

  async function runOpen(chunk: HeldChunk, place: BatchPlace): Promise<boolean> {
    const { claim, open } = chunk
    const lines = [...open].toSorted((a, b) => a - b)
    try {
      const [file, keys] = await Promise.all([place.input(claim), claims.lineKeys(claim)])
      return await runAll(chunk, place, deps.input.read(file, lines, keys))
    } catch (error) {
      if (!(error instanceof FileGoneError || error instanceof SealError)) throw error
      const { batchId } = claim
      log.error(
        { err: error, batch_id: batchId },
        'The input of a batch can not be read; it ends with what was done',
      )
      await deps.ends.stop({ ...claim, id: batchId }, 'unreadable')
      return true
    }
  }

  /** What an earlier claim's worker had made durable before it died is settled by that. */
  async function settleRemains({ claim, open }: HeldChunk): Promise<void> {
    const { tenant, batchId, predecessors } = claim
    for (const { log: number, from } of predecessors) {
      const found = []
      for await (const { entry, meta } of deps.results.recover({ tenant, id: batchId }, number, from)) {
        if (open.delete(entry.line)) {
          const { model, usage, cost } = meta
          found.push(claims.settle(claim, { by: 'claim', entry, model, usage, cost }))
        }
      }
      await Promise.all(found)
    }
  }

  /**
   * Runs lines as they are read, at most so many at once as the chunk is wide.
   * @returns false when the end of one could not be noted: the chunk is taken up again after its lease.
   */
  async function runAll(
    chunk: HeldChunk,
    place: BatchPlace,
    lines: AsyncIterable<InputLine | FaultyLine>,
  ): Promise<boolean> {
    let [free, isWhole] = [chunk.claim.width, true]
    let wake: (() => void) | null = null
    const someEnd = () => new Promise<void>((resolve) => (wake = resolve))
    const credentials = createChunkCredentials((id) => deps.stored.open(chunk.claim.tenant, id))
    const start = async (line: InputLine | FaultyLine) => {
      free--
      try {
        await runLine(chunk, place, line, credentials)
      } catch (error) {
        isWhole = false
        const { batchId } = chunk.claim
        if (!(error instanceof RedisAwayError))
          log.error(
            { err: error, batch_id: batchId, line: line.line },
            'The end of a line could not be noted',
          )
      }
      free++
      deps.slots.lineDone()
      wake?.()
    }
    try {
      for await (const line of lines) {
        if (free === 0) await someEnd()
        const taken = deps.slots.forLine(chunk.stop.signal)
        if (taken !== true && !(await taken)) break
        void start(line)
      }
    } finally {
      while (free < chunk.claim.width) await someEnd()
    }
    return isWhole
  }

  async function runLine(
    chunk: HeldChunk,
    place: BatchPlace,
    input: InputLine | FaultyLine,
    credentials: ChunkCredentials,
  ): Promise<void> {
    const { claim, hold } = chunk
    const { line, customId } = input
    const model = 'body' in input ? input.body['model'] : null
    const ended: EndedLine = { line, customId, model: typeof model === 'string' ? model : null }
    try {
      const plan = 'fault' in input ? input.fault : await tryPlan(chunk, place, input, credentials)
      if (plan instanceof GatewayError) return await fail(chunk, ended, plan)
      await deps.work(workOf(claim, line, plan), hold, records.open(chunk, ended))
    } catch (error) {
      if (error instanceof RedisAwayError) throw error
      // Nobody foresaw it: the line would break again, and hold up its batch.
      log.error({ err: error, batch_id: claim.batchId, line }, 'A line broke')
      await fail(chunk, ended, new GatewayError(500, 'server_error', 'internal_error', BROKEN))
    }
  }

  async function fail(chunk: HeldChunk, line: EndedLine, error: GatewayError): Promise<void> {
    await records.fail(chunk, line, cutEchoes(error.toBody().error), error.status)
  }

  async function tryPlan(
    { claim, hold }: HeldChunk,
    place: BatchPlace,
    input: InputLine,
    credentials: ChunkCredentials,
  ): Promise<LinePlan | GatewayError> {
    if (claim.fault) return claim.fault
    if (input.credentials === 'erased') return erased()
    const { tenant, meta } = claim
    const { customer, endpoint, allowed } = meta
    const context: LineContext = { tenant, customer, endpoint, allowed }
    const defaults = place.defaults(claim)
    const ids = namedByLine(input, defaults)
    try {
      const own =
        ids.length === 0 ? credentials.none : await persistUnlessStopped(hold, () => credentials.of(ids))
      return planOfLine(input, defaults, context, { ...deps.planDependencies, credentials: own })
    } catch (error) {
      if (error instanceof GatewayError) return error
      throw error
    }
  }

  return {
    run,
    /** Nothing new of a batch is started. */
    stop(batchId: string): void {
      for (const [id, held] of stops) if (held.batchId === batchId) chunks.cancel(id)
    },
    /** Nothing new is started at all; chunks are given back when the calls in flight have ended. */
    drain(): void {
      isDraining = true
      for (const { stop } of stops.values()) stop.abort()
    },
  }
}

export type BatchRunner = ReturnType<typeof createBatchRunner>

const BROKEN = 'The gateway failed to run this line; its log says why.'

function erased(): InvalidRequestError {
  const message =
    'The credentials of this line are erased: it was settled before. Send the line again with credentials of its own.'
  return new InvalidRequestError(message, 'body', 'credentials_required')
}
