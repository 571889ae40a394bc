import type { Redis } from 'ioredis'
import { LINE_KEY_BYTES, type BatchEnding, type BatchMeta, type LineState } from './batch-record.ts'
import type { FedChunk } from './batch-queue.ts'
import { batchStepKeys } from './batch-keys.ts'
import { ORDER_ENTRY_BYTES, unpackEntries, type OrderEntry } from './batch-results.ts'
import type { SealError } from '../errors.ts'
import { createGather } from '../gather.ts'
import { openDefaults } from './kept-defaults.ts'
import type { Keys } from '../keys.ts'
import { endArguments, type LineEnd } from './line-end.ts'
import { randomPart } from '../random.ts'
import { createScript } from '../scripts.ts'
import type { Sealer } from '../seal.ts'
import { UNCLAIMED_MS } from '../jobs/window.ts'

/** Where the two result logs of a process stand. */
export type LogPositions = { output: number; error: number }

/** A chunk in a worker's hands. */
export type ChunkClaim = {
  batchId: string
  chunk: string
  /** How often it was given out. */
  generation: number
  /** `<batch> <chunk>`: by it leases are renewed. */
  id: string
  token: string
  tenant: string
  owner: string
  meta: BatchMeta
  /** Laid under each line: credentials and gateway fields of the whole batch; empty when there are none. Sealed at rest. */
  defaults: Record<string, unknown>
  /** Why these do not open: nothing can be called. */
  fault: SealError | null
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

export type ChunkClaimResult = { kind: 'claimed'; claim: ChunkClaim } | { kind: 'gone' | 'stale' | 'held' }

/** `ended`: it had an end before. `fenced`: another claim has the chunk. `over_budget`: it may cost more than the day has left. */
export type StartWord = 'started' | 'ended' | 'fenced' | 'cancelling' | 'over_budget'
export type SettleWord = 'settled' | 'ended' | 'fenced'
export type ParkWord = 'parked' | 'ended' | 'fenced' | 'cancelling'

/** What a worker's step leaves for others to do. */
export type AfterStep = {
  /** To be enqueued: the finish of a batch that has nothing more in flight. */
  finish: FedChunk | null
  /** Tenants with batches that wait for room. */
  tenantsWaiting: number
}

// Lines of one script: as many as a chunk has.
const GATHERED_MAX = 100

const CLAIM_FIELDS = ['tenant', 'owner', 'meta', 'cred', 'ending', 'total', 'deadline'] as const

const START_WORDS: Record<string, StartWord> = {
  s: 'started',
  e: 'ended',
  f: 'fenced',
  c: 'cancelling',
  b: 'over_budget',
}
const SETTLE_WORDS: Record<string, SettleWord> = { s: 'settled', e: 'ended', f: 'fenced' }
const PARK_WORDS: Record<string, ParkWord> = { p: 'parked', e: 'ended', f: 'fenced', c: 'cancelling' }

/**
 * The store of batches as a worker uses it: chunks are claimed, their lines started, parked and settled. What happens to
 * the lines of one chunk in one turn of the event loop is one script.
 * @param deps.afterStep Follows every step that frees room or ends the last line, for others to go on. Never throws.
 */
export function createBatchClaims(deps: {
  redis: Redis
  keys: Keys
  sealer: Sealer
  leaseMs: number
  afterStep: (after: AfterStep) => void
}) {
  const { redis, keys, sealer, leaseMs } = deps
  const claimChunk = createScript(redis, 'claim-chunk')
  const renewChunks = createScript(redis, 'renew-chunks')
  const startLines = createScript(redis, 'start-lines')
  const settleLines = createScript(redis, 'settle-lines')
  const parkLines = createScript(redis, 'park-lines')
  const leaveChunk = createScript(redis, 'leave-chunk')

  /**
   * Takes a chunk for this worker.
   * @param at.positions Where this process's logs of the batch stand now; zeros when it has none open.
   */
  async function take(
    { batchId, chunk, generation }: FedChunk,
    at: { workerId: string; positions: LogPositions },
  ): Promise<ChunkClaimResult> {
    const token = randomPart(12).toString('base64url')
    const facts = await redis.hmget(keys.batch(batchId), 'tenant', 'owner')
    const reply = await claimChunk(batchStepKeys(keys, { batchId, chunk, tenant: facts[0] ?? '', owner: facts[1] ?? '' }), [
      '', batchId, chunk, generation, token, leaseMs, UNCLAIMED_MS, at.workerId, at.positions.output,
      at.positions.error, ...CLAIM_FIELDS,
    ]) // oxfmt-ignore
    const [kind, ...rest] = reply as [Buffer, ...unknown[]] // see the script
    const said = kind.toString()
    if (said === 'stopped') {
      deps.afterStep(afterStep(batchId, Number(rest[0]), 0))
      return { kind: 'gone' }
    }
    if (said !== 'claimed') return { kind: said as 'gone' | 'stale' | 'held' }
    return { kind: 'claimed', claim: readClaim({ batchId, chunk, generation }, token, rest as ClaimReply) }
  }

  function readClaim(
    { batchId, chunk, generation }: FedChunk,
    token: string,
    [claimedAt, width, log, earlier, lines, states, fields]: ClaimReply,
  ): ChunkClaim {
    const field = (name: (typeof CLAIM_FIELDS)[number]) => fields[CLAIM_FIELDS.indexOf(name)] ?? null
    const tenant = String(field('tenant'))
    // What is not sealed was written by our own scripts from values that the API had checked.
    return {
      batchId,
      chunk,
      generation,
      id: `${batchId} ${chunk}`,
      token,
      tenant,
      owner: String(field('owner')),
      meta: JSON.parse(String(field('meta'))) as BatchMeta,
      ...openDefaults(sealer, { tenant, id: batchId }, field('cred')),
      ending: (field('ending')?.toString() ?? null) as BatchEnding | null,
      lines,
      width,
      total: Number(field('total')),
      log,
      predecessors: earlier.toString().split(' ').filter(Boolean).map(readPredecessor),
      states: new Map(
        lines.flatMap((line, index) => {
          const state = states[index]
          return state ? [[line, JSON.parse(state.toString()) as LineState] as const] : []
        }),
      ),
      deadlineMs: Date.now() + Number(field('deadline')) - claimedAt,
    }
  }

  /** Prolongs leases. `cancelling`: nothing new of the chunk's batch is to be started. */
  async function renew(
    held: readonly { id: string; token: string }[],
  ): Promise<Map<string, 'lost' | 'cancelling'>> {
    const pairs = held.flatMap(({ id, token }) => [id, token])
    const [batches = '', chunks = ''] = keys.batchPrefixes
    const reply = await renewChunks([keys.batchWindow], ['', leaseMs, batches, chunks, ...pairs])
    const flat = (reply as Buffer[]).map(String) // pairs, see the script
    const words = new Map<string, 'lost' | 'cancelling'>()
    for (let at = 0; at < flat.length; at += 2)
      words.set(flat[at] ?? '', flat[at + 1] as 'lost' | 'cancelling')
    return words
  }

  const startGathered = createGather(
    async (claim: ChunkClaim, items: readonly { line: number; state: LineState; holdMicroUsd: number }[]) => {
      const { token } = claim
      const reply = await startLines(
        [...batchStepKeys(keys, claim).slice(0, 4), keys.budgets],
        [
          '',
          token,
          keys.accountPrefix,
          ...items.flatMap(({ line, state, holdMicroUsd }) => [line, JSON.stringify(state), holdMicroUsd]),
        ],
      )
      return Array.from(String(reply), (letter) => START_WORDS[letter] ?? 'fenced')
    },
    GATHERED_MAX,
  )

  const settleGathered = createGather(async (claim: ChunkClaim, ends: readonly LineEnd[]) => {
    const { batchId, chunk, token } = claim
    const lines = ends.flatMap((end) => endArguments(claim, end))
    const reply = await settleLines([...batchStepKeys(keys, claim), keys.usageNews], [
      '', batchId, chunk, token, UNCLAIMED_MS, keys.batchChannel(batchId), keys.batchStopChannel, LINE_KEY_BYTES,
      keys.accountPrefix, ...lines,
    ]) // oxfmt-ignore
    return readWords(batchId, reply).map((letter) => SETTLE_WORDS[letter] ?? 'fenced')
  }, GATHERED_MAX)

  const parkGathered = createGather(
    async (
      claim: ChunkClaim,
      items: readonly { line: number; waitMs: number; state: LineState }[],
    ): Promise<ParkWord[]> => {
      const { batchId, chunk, token } = claim
      const lines = items.flatMap(({ line, waitMs, state }) => [
        line,
        Math.max(0, Math.ceil(waitMs)),
        JSON.stringify(state),
      ])
      const args = ['', batchId, chunk, token, UNCLAIMED_MS, keys.accountPrefix, ...lines]
      const reply = await parkLines(batchStepKeys(keys, claim), args)
      return readWords(batchId, reply).map((letter) => PARK_WORDS[letter] ?? 'fenced')
    },
    GATHERED_MAX,
  )

  function readWords(batchId: string, reply: unknown): string[] {
    const [words, finish, tenantsWaiting] = reply as [Buffer, number, number] // see the scripts
    deps.afterStep(afterStep(batchId, finish, tenantsWaiting))
    return Array.from(words, (letter) => String.fromCharCode(letter))
  }

  return {
    claim: take,
    renew,
    /**
     * Notes that a call for a line is about to be made. Only `started` allows it.
     * @param holdMicroUsd What the line may cost; 0: not known.
     */
    start: (claimed: ChunkClaim, line: number, state: LineState, holdMicroUsd = 0) =>
      startGathered(claimed, { line, state, holdMicroUsd }),
    /** Ends a line whose result is durable. */
    settle: (claimed: ChunkClaim, end: LineEnd) => settleGathered(claimed, end),
    /** Puts a line back for `waitMs` without ending it. */
    park: (claimed: ChunkClaim, line: number, waitMs: number, state: LineState) =>
      parkGathered(claimed, { line, waitMs, state }),
    /** Gives back lines that were not run: they may be cut again at once, or are left for the end of a stopped batch. */
    async leave(claimed: ChunkClaim, lines: Iterable<number>): Promise<void> {
      const { batchId, chunk, token } = claimed
      const args = ['', batchId, chunk, token, UNCLAIMED_MS, keys.accountPrefix, ...lines]
      readWords(batchId, await leaveChunk(batchStepKeys(keys, claimed), args))
    },
    /** Reads the random keys of lines, packed; null when no line of the batch has credentials of its own. */
    async lineKeys({ batchId, meta, chunk }: ChunkClaim) {
      const key = chunk === 'v' ? keys.fileKeys(meta.inputFileId) : keys.batchKeys(batchId)
      if ((await redis.exists(key)) === 0) return null
      return (from: number, count: number) =>
        redis.getrangeBuffer(key, from * LINE_KEY_BYTES, (from + count) * LINE_KEY_BYTES - 1)
    },
    /** Lines that have no end yet, in order. */
    async unsettled({ batchId, total }: ChunkClaim): Promise<number[]> {
      const bits = (await redis.getBuffer(keys.batchDone(batchId))) ?? Buffer.alloc(0)
      const isDone = (line: number) => ((bits[line >> 3] ?? 0) & (0x80 >> (line & 7))) !== 0
      return Array.from({ length: total }, (_, line) => line).filter((line) => !isDone(line))
    },
    /** What is known of lines that were in flight or parked. */
    async states({ batchId }: ChunkClaim, lines: readonly number[]): Promise<Map<number, LineState>> {
      if (lines.length === 0) return new Map()
      const texts = await redis.hmget(keys.batchLines(batchId), ...lines.map(String))
      return new Map(
        lines.flatMap((line, index) => {
          const text = texts[index]
          return text ? [[line, JSON.parse(text) as LineState] as const] : []
        }),
      )
    },
    /** Where all results lie, in the order of settling. */
    async entries({ batchId }: ChunkClaim): Promise<OrderEntry[]> {
      const packed = (await redis.getBuffer(keys.batchOrder(batchId))) ?? Buffer.alloc(0)
      return unpackEntries(packed.subarray(0, packed.length - (packed.length % ORDER_ENTRY_BYTES)))
    },
  }
}

export type BatchClaims = ReturnType<typeof createBatchClaims>

/** Milliseconds, width, log, predecessors, lines, their states, record fields. */
type ClaimReply = [number, number, number, Buffer, number[], (Buffer | null)[], (Buffer | null)[]]

/** What a script's reply leaves for others to do. */
export function afterStep(batchId: string, finish: number, tenantsWaiting: number): AfterStep {
  return { finish: finish === 1 ? { batchId, chunk: 'f', generation: 1 } : null, tenantsWaiting }
}

// As claim-chunk.lua writes them.
function readPredecessor(text: string): ChunkClaim['predecessors'][number] {
  const [log = 0, output = 0, error = 0] = text.split(':').map(Number)
  return { log, from: { output, error } }
}
