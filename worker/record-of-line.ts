import { setTimeout as delay } from 'node:timers/promises'
import type { BatchClaims, ChunkClaim } from '../shared/batches/batch-claims.ts'
import type { LineState } from '../shared/batches/batch-record.ts'
import { lineId, type LineOutcome, type OrderEntry } from '../shared/batches/batch-results.ts'
import { holdOf } from '../shared/jobs/call-costs.ts'
import type { Progress } from '../shared/jobs/claims.ts'
import { endpointAt } from '../shared/jobs/endpoints.ts'
import type { Logger } from '../shared/log.ts'
import {
  answeredLine,
  failedLine,
  unansweredLine,
  UNANSWERED,
  type LineName,
} from '../shared/batches/result-line.ts'
import type { ResultLog } from '../shared/batches/result-log.ts'
import { ownerOf } from '../shared/routing/cooldown-rule.ts'
import type { KeptPlace } from '../shared/routing/kept-places.ts'
import type { Attempt, JobError, QueueState, Usage } from '../shared/schemas/job.ts'
import { loseAttempt } from './attempt.ts'
import { tokensOf } from './fit.ts'
import { persist } from './persist.ts'
import { costOf, restingProgress, type Run } from './run.ts'
import type { RunEnd, RunOutcome, RunRecord } from './run-record.ts'
import type { Hold } from './running.ts'

const STORE_WAITS_MS = [100, 200, 500, 1_000, 2_000, 5_000]

/** A chunk's stay in this process. */
export type HeldChunk = {
  claim: ChunkClaim
  hold: Hold
  /** This process's results of the batch. */
  results: ResultLog
  /** Once aborted, nothing new of it is started. */
  stop: AbortController
  /** Lines that are neither settled nor put back. */
  open: Set<number>
}

/** Whose end is told: a line, by its number and its client's name for it. */
export type EndedLine = { line: number; customId: string; model: string | null }

type Told = {
  outcome: LineOutcome
  text: Buffer
  attempts: Attempt[]
  usage: Usage | null
  cost: number | null
}

/** The records of lines of batches, as their runs write them; and the ends of lines that can't run. */
export function createLineRecords({
  claims,
  log,
  afterSettle,
}: {
  claims: BatchClaims
  log: Logger
  /** Follows every end of a line. Never throws. */
  afterSettle: (batchId: string, outcome: LineOutcome) => void
}) {
  /** The record of a line of a chunk that this process holds. */
  function open(chunk: HeldChunk, line: EndedLine): RunRecord {
    const { claim } = chunk
    let isNoted = false
    return {
      stream: null,
      remains: () => Promise.resolve(null),

      async start(run, attempts, progress) {
        const state = stateOf(run, attempts, run.attemptsMade + 1, progress, 'active')
        const said = await claims.start(claim, line.line, state, holdFor(run))
        if (said === 'ended') {
          // Only its place in the chunk is left.
          await claims.park(claim, line.line, 0, state)
          chunk.open.delete(line.line)
          return 'fenced'
        }
        if (said === 'started') isNoted = true
        // Nothing more of this chunk is to be started; a budget stops one line alone, and others may cost less.
        else if (said !== 'over_budget') chunk.stop.abort()
        return said
      },

      async snooze(run, waitMs, state) {
        const stands = {
          ...stateOf(run, run.attempts, run.attemptsMade, restingProgress(run), state),
          ...keptBy(run),
        }
        const said = await claims.park(claim, line.line, waitMs, stands)
        if (said === 'parked' || said === 'ended') chunk.open.delete(line.line)
        if (said === 'parked') return 'snoozed'
        return said === 'cancelling' ? said : 'fenced'
      },

      settle(run, end) {
        // It had not begun: the end of its batch says what became of it, unless a call is noted that was not made.
        if (run.attempts.length === 0 && !isNoted && isStopped(end))
          return Promise.resolve({ kind: 'dropped', why: 'not begun' })
        return settle(chunk, line, toldOf(nameOf(claim, line), run, end))
      },
    }
  }

  /** Ends a line that can't be called as it is. */
  function fail(chunk: HeldChunk, line: EndedLine, error: JobError, status: number): Promise<RunOutcome> {
    const text = failedLine(nameOf(chunk.claim, line), { status, requestId: null, error })
    return settle(chunk, line, { outcome: 'failed', text, attempts: [], usage: null, cost: null })
  }

  /** Ends a line that its batch ended without. */
  function endMissing(
    chunk: HeldChunk,
    line: EndedLine,
    outcome: 'expired' | 'cancelled',
    attempts: Attempt[],
  ): Promise<RunOutcome> {
    const text = unansweredLine(nameOf(chunk.claim, line), UNANSWERED[outcome])
    const told = attempts.map((one) => (one.outcome === 'in_flight' ? loseAttempt(one, Date.now()) : one))
    return settle(chunk, line, { outcome, text, attempts: told, usage: null, cost: costOf(told) })
  }

  /** First the result is durable, then the line is settled by it. */
  async function settle(chunk: HeldChunk, { line, model }: EndedLine, told: Told): Promise<RunOutcome> {
    const { outcome, text, attempts, usage, cost } = told
    const meta = { attempts, usage, cost, model, ended_at: Date.now() }
    const entry = await keep(chunk, () => chunk.results.append({ line, outcome, meta, text }))
    if (!entry) return { kind: 'dropped', why: 'lost' }
    const by = outcome === 'completed' ? 'complete' : 'claim'
    const word = await persist(() => claims.settle(chunk.claim, { by, entry, model, usage, cost }), () => false) // oxfmt-ignore
    if (word === 'fenced') return { kind: 'dropped', why: word }
    chunk.open.delete(line)
    if (word === 'settled') afterSettle(chunk.claim.batchId, outcome)
    return word === 'settled' ? { kind: 'settled', status: outcome } : { kind: 'dropped', why: word }
  }

  /** A paid result is not given up because the store has trouble; only with the chunk, or with this process. */
  async function keep(
    { hold, claim }: HeldChunk,
    append: () => Promise<OrderEntry>,
  ): Promise<OrderEntry | null> {
    for (let tries = 0; ; tries++) {
      try {
        return await append()
      } catch (error) {
        const reason = hold.reason()
        if (tries === 0)
          log.warn({ err: error, batch_id: claim.batchId }, 'A result could not be stored; trying again')
        if (reason === 'lost' || reason === 'drained') return null
        await delay(STORE_WAITS_MS[Math.min(tries, STORE_WAITS_MS.length - 1)])
      }
    }
  }

  return { open, fail, endMissing }
}

export type LineRecords = ReturnType<typeof createLineRecords>

function nameOf({ batchId }: ChunkClaim, { line, customId }: EndedLine): LineName {
  return { id: lineId(batchId, line), customId }
}

function stateOf(
  { claim: { crashes } }: Run,
  attempts: readonly Attempt[],
  attemptsMade: number,
  progress: Progress | null,
  queueState: QueueState,
): LineState {
  return { attempts: [...attempts], attemptsMade, progress, crashes, queueState }
}

function holdFor(run: Run): number {
  const { plan, body, meta } = run.claim
  const endpoint = endpointAt(meta.endpoint)
  return endpoint ? holdOf(plan, { endpoint: endpoint.name, body }, () => tokensOf(run, plan.group)) : 0
}

/** The place that a run has kept at a limit. */
function keptBy(run: Run): { kept?: KeptPlace } {
  const { plan } = run.claim
  const { slot } = run.progress
  const deployment = slot && plan.deployments.find(({ id }) => id === slot.id)
  if (!deployment) return {}
  const ownerId = ownerOf(plan, deployment)
  return { kept: { ownerId, deploymentId: slot.id, at: slot.at, ...tokensOf(run, deployment.group) } }
}

function isStopped(end: RunEnd): boolean {
  return end.kind === 'ended' && end.status !== 'failed'
}

/** What is told of a run's end. */
function toldOf(name: LineName, run: Run, end: RunEnd): Told {
  const { attempts } = run
  const cost = costOf(run.attempts)
  if (end.kind === 'answered') {
    const { usage } = end.reply
    return { outcome: 'completed', text: answeredLine(name, end.reply), attempts, usage, cost }
  }
  if (end.kind === 'ended' && end.status !== 'failed') {
    const text = unansweredLine(name, UNANSWERED[end.status])
    return { outcome: end.status, text, attempts, usage: null, cost }
  }
  const failure = { status: run.lastError?.status ?? null, requestId: null, error: end.error }
  return { outcome: 'failed', text: failedLine(name, failure), attempts, usage: null, cost }
}
