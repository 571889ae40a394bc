import { setTimeout as pause } from 'node:timers/promises'
import {
  chunks,
  completion,
  failure,
  startProvider,
  type Answer,
  type LedgerEntry,
} from '../support/provider.ts'
import { createRandom } from './random.ts'

/** One call as the provider saw it: all that is kept of it. */
export type Call = {
  at: number
  /** Whether the provider would charge for it: it was answered in full, in part, or not yet. */
  mayBill: boolean
}

const STREAM_EVERY_MS = 40

/** How a scenario wants calls of its own answered, instead of by chance; undefined: by chance. */
export type Behaviour = (mark: string, number: number) => Answer | undefined

const byChanceAlone: Behaviour = () => undefined

/** What is in a prompt, so that the ledger tells whose call is whose. */
export const markOf = (text: string): string => /<([^<>]+)>/.exec(text)?.[1] ?? ''

/** The answer that belongs to a prompt and to no other. */
export const answerTo = (mark: string): string => `answer to ${mark}`

/**
 * A provider with a ledger, which takes its time, fails, throttles and breaks off now and then: by chance, and the same for
 * the same seed and prompt whatever else happens.
 */
export async function startUpstream(seed: number) {
  const provider = await startProvider()
  const calls = new Map<string, Call[]>()
  let behaviour: Behaviour = byChanceAlone
  let slowerMs = 0
  let open = 0

  function note(entry: LedgerEntry): { mark: string; number: number; call: Call } {
    const mark = markOf(entry.text)
    const call = { at: entry.startedAt, mayBill: true }
    const all = calls.get(mark) ?? []
    all.push(call)
    calls.set(mark, all)
    return { mark, number: all.length, call }
  }

  provider.answer(async (entry) => {
    const { mark, number, call } = note(entry)
    const isStream = entry.body['stream'] === true
    // An hour of calls is kept as what is needed of them, not with their bodies.
    provider.ledger.length = 0
    Object.assign(entry, { text: '', body: {}, headers: {} })
    const random = createRandom(seed, `${mark} ${number}`)
    const delayMs = (random.chance(0.05) ? random.between(800, 2_500) : random.between(10, 200)) + slowerMs
    open += 1
    try {
      if (!isStream) await pause(delayMs)
    } finally {
      open -= 1
    }
    const answer = behaviour(mark, number) ?? byChance(mark, number, isStream, random.next())
    call.mayBill = !(answer.kind === 'reply' && answer.status >= 400)
    return answer
  })

  return {
    url: provider.url,
    /** Prompt's mark -> its calls, in order of arrival. */
    calls,
    /** Calls that are not answered yet, streams apart. */
    open: () => open,
    behave(next: Behaviour): void {
      behaviour = next
    },
    /** Every answer but a stream's takes so much longer. */
    slowDown(ms: number): void {
      slowerMs = ms
    },
    close: () => provider.close(),
  }
}

export type Upstream = Awaited<ReturnType<typeof startUpstream>>

// First calls alone fail: no job is to end for the provider's sake.
function byChance(mark: string, number: number, isStream: boolean, luck: number): Answer {
  if (number === 1 && luck < 0.04) return failure(500, 'unlucky')
  if (number === 1 && luck < 0.06) return failure(429, 'rate_limit_exceeded', { 'retry-after-ms': '200' })
  if (number === 1 && luck < 0.08) return { kind: 'cut' }
  return isStream ? streamOf(mark) : completion(answerTo(mark))
}

function streamOf(mark: string): Answer {
  const pieces = answerTo(mark).match(/.{1,4}/gs) ?? []
  return chunks(...pieces.flatMap((piece, at) => [piece, pause(STREAM_EVERY_MS * (at + 1))]))
}
