import { createHash } from 'node:crypto'
import { plainError } from './classify.ts'
import type { ProviderError } from './provider.ts'

/** A token and for how long it may be used, or why there is none. */
export type TokenOutcome =
  | { kind: 'token'; token: string; usableMs: number }
  | { kind: 'error'; error: ProviderError }

type Entry = { outcome: Promise<TokenOutcome>; untilMs: number }

const ENTRIES_MAX = 1_000

/**
 * Keeps tokens that were got for credentials: in memory only, found by a hash. Calls that need the same one wait for one
 * request, which none of them can give up for the others. The least recently made entry goes first.
 * @param ask Gets a token; it must end by itself, and never throws.
 * @param now Milliseconds; for tests.
 */
export function createTokenCache<Credential>(
  ask: (credential: Credential) => Promise<TokenOutcome>,
  { now = Date.now, entriesMax = ENTRIES_MAX }: { now?: () => number; entriesMax?: number } = {},
) {
  const entries = new Map<string, Entry>()

  function start(key: string, credential: Credential): Promise<TokenOutcome> {
    // While it is asked for it is nobody's to ask for again.
    const entry: Entry = { outcome: ask(credential), untilMs: Infinity }
    entries.delete(key)
    entries.set(key, entry)
    const [oldest] = entries.keys()
    if (entries.size > entriesMax && oldest !== undefined) entries.delete(oldest)
    void settle(key, entry)
    return entry.outcome
  }

  async function settle(key: string, entry: Entry): Promise<void> {
    const outcome = await entry.outcome
    if (outcome.kind === 'token') entry.untilMs = now() + outcome.usableMs
    // A refusal is not kept: the credential may be mended, and the next call has its own attempt.
    else if (entries.get(key) === entry) entries.delete(key)
  }

  return {
    /** The token of a credential. @param signal Ends the wait of this caller alone. */
    get(credential: Credential, signal: AbortSignal): Promise<TokenOutcome> {
      const key = keyOf(credential)
      const known = entries.get(key)
      const outcome = known && known.untilMs > now() ? known.outcome : start(key, credential)
      return untilAborted(outcome, signal)
    },
    /** What was refused must not be used for the rest of its time. */
    forget(credential: Credential): void {
      entries.delete(keyOf(credential))
    },
  }
}

function keyOf(credential: unknown): string {
  return createHash('sha256').update(JSON.stringify(credential)).digest('base64')
}

function untilAborted(outcome: Promise<TokenOutcome>, signal: AbortSignal): Promise<TokenOutcome> {
  const { promise, resolve } = Promise.withResolvers<TokenOutcome>()
  const leave = () =>
    resolve({ kind: 'error', error: plainError('api_connection', 'The call was given up.') })
  if (signal.aborted) leave()
  signal.addEventListener('abort', leave, { once: true })
  return Promise.race([promise, outcome]).finally(() => signal.removeEventListener('abort', leave))
}
