import type { Redis } from 'ioredis'
import type { Clock, Grant, Success, Tokens } from './deployment-state.ts'
import type { Keys } from '../keys.ts'
import type { Strategy } from '../schemas/plan.ts'
import { createScript } from '../scripts.ts'

// Successes change no decision at once, so those of many jobs are told to Redis together.
const NOTE_WITHIN_MS = 20
// LiteLLM's defaults; whoever asks for more samples than this gets so many.
const SAMPLES_MAX = 10
const SAMPLES_MAX_MAX = 100
const SAMPLES_TTL_MS = 3_600_000

/** What of one deployment Redis is still to be told. */
type Batch = {
  keys: string[]
  successes: number
  /** When tokens were booked -> how many more were used. */
  surpluses: Map<number, Tokens>
  hasProbe: boolean
  restMs: number
  samples: number[]
  samplesMax: number
  samplesTtlMs: number
  noted: PromiseWithResolvers<void>
}

/** How many samples of seconds per token are kept for a strategy, and how long; null where nobody asks for them. */
export function samplesOf(strategy: Strategy | null): { samplesMax: number; samplesTtlMs: number } | null {
  if (strategy?.name !== 'latency') return null
  const samplesMax = Math.min(strategy.samples_max ?? SAMPLES_MAX, SAMPLES_MAX_MAX)
  const samplesTtlMs = strategy.ttl_s === undefined ? SAMPLES_TTL_MS : strategy.ttl_s * 1000
  return { samplesMax, samplesTtlMs }
}

/** Tells Redis what finished calls used and taught; what happens within 20 ms on one deployment goes together. */
export function createUsageNotes(deps: { redis: Redis; keys: Keys; windowMs: number; now: Clock }) {
  const { redis, keys, windowMs, now } = deps
  const noteSuccess = createScript(redis, 'note-success')
  const pending = new Map<string, Batch>()
  let timer: NodeJS.Timeout | null = null

  /**
   * Settles a finished call's estimate with what it used. Resolves when it is noted.
   * @param countsForRatio The deployment's cooldowns go by the share of failures.
   */
  async function note(
    ownerId: string,
    grant: Grant,
    success: Success,
    countsForRatio: boolean,
  ): Promise<void> {
    const { isProbe } = grant
    const surplus = surplusOf(grant, success)
    const kept = samplesOf(success.strategy)
    const outputTokens = success.usage?.output_tokens
    const hasSample = kept !== null && outputTokens !== undefined
    const restMs = success.restMs ?? 0
    if (!surplus && !countsForRatio && !isProbe && !hasSample && restMs <= 0) return
    const batch = batchOf(ownerId, grant)
    if (surplus) addSurplus(batch, grant.bookedAt, surplus)
    if (countsForRatio) batch.successes += 1
    if (hasSample) {
      Object.assign(batch, kept)
      batch.samples.push(success.latencyMs / 1000 / Math.max(1, outputTokens))
    }
    batch.restMs = Math.max(batch.restMs, restMs)
    if (isProbe) batch.hasProbe = true
    // Others wait for a probe; and a deployment with nothing left is called in vain until Redis knows.
    if (isProbe || restMs > 0) flush()
    return batch.noted.promise
  }

  /** Gives back the estimate of a call that used nothing. */
  function giveBack(ownerId: string, grant: Grant): void {
    const { input, output } = grant.tokens
    if (grant.bookedAt === 0 || input + output === 0) return
    const batch = batchOf(ownerId, grant)
    addSurplus(batch, grant.bookedAt, { input: -input, output: -output })
    batch.noted.promise.catch(() => undefined)
  }

  function batchOf(ownerId: string, { deployment: { id, key_id } }: Grant): Batch {
    const stateKey = keys.deployment(ownerId, id)
    const known = pending.get(stateKey)
    if (known) return known
    const batch: Batch = {
      keys: [stateKey, keys.credentialPause(ownerId, key_id), keys.usageLog(ownerId, id)],
      successes: 0,
      surpluses: new Map(),
      hasProbe: false,
      restMs: 0,
      samples: [],
      samplesMax: SAMPLES_MAX,
      samplesTtlMs: SAMPLES_TTL_MS,
      noted: Promise.withResolvers<void>(),
    }
    pending.set(stateKey, batch)
    timer ??= setTimeout(flush, NOTE_WITHIN_MS)
    return batch
  }

  function addSurplus({ surpluses }: Batch, bookedAt: number, { input, output }: Tokens): void {
    // All of one sixtieth of the window are one entry.
    const partMs = Math.ceil(windowMs / 60)
    const at = Math.floor(bookedAt / partMs) * partMs
    const known = surpluses.get(at) ?? { input: 0, output: 0 }
    surpluses.set(at, { input: known.input + input, output: known.output + output })
  }

  /** Notes at once what is still to be noted. */
  function flush(): void {
    if (timer) clearTimeout(timer)
    timer = null
    const batches = [...pending.values()]
    pending.clear()
    for (const { keys: batchKeys, noted, ...batch } of batches) {
      const { successes, hasProbe, restMs, samples, samplesMax, samplesTtlMs } = batch
      const head = [now(), windowMs, successes, hasProbe ? '1' : '0', Math.min(restMs, REST_MS_MAX)]
      const learned = [samples.length, samplesMax, samplesTtlMs, ...samples]
      const settled = [...batch.surpluses].flatMap(([at, { input, output }]) => [at, input, output])
      noteSuccess(batchKeys, [...head, ...learned, ...settled]).then(() => noted.resolve(), noted.reject)
    }
  }

  return { note, giveBack, flush }
}

/** As long as a mistaken header may park a key or a deployment, in milliseconds: LiteLLM takes any. */
export const REST_MS_MAX = 3_600_000

function surplusOf({ bookedAt, tokens }: Grant, { usage }: Success): Tokens | null {
  if (bookedAt === 0 || !usage) return null
  // Tokens that are only in the total (a model's thoughts) were made by it.
  const output = Math.max(usage.output_tokens, usage.total_tokens - usage.input_tokens)
  const surplus = { input: usage.input_tokens - tokens.input, output: output - tokens.output }
  return surplus.input === 0 && surplus.output === 0 ? null : surplus
}
