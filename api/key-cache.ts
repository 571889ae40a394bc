import type { Redis } from 'ioredis'
import type { ApiKey, ApiKeys } from '../shared/api-keys.ts'
import type { Keys } from '../shared/keys.ts'

const ENTRIES_MAX = 10_000
const TTL_MS = 30_000

/**
 * Remembers gateway keys that were found, so that a call costs no round trip for them. A revocation holds at once:
 * it is published, and while this process can't hear the channel nothing is remembered. Unknown keys are not
 * remembered, else somebody guessing would push out the real ones.
 *
 * @param subscriber a connection in subscriber mode, shared with others; its owner closes it.
 */
export function createKeyCache(apiKeys: ApiKeys, subscriber: Redis, keys: Keys) {
  const entries = new Map<string, { key: ApiKey; untilMs: number }>()
  let isListening = false
  // Counts forgettings: an answer that was on its way when a key was revoked must not be remembered.
  let generation = 0

  function forget(): void {
    generation += 1
    entries.clear()
  }
  const onMessage = (channel: string): void => {
    if (channel === keys.apiKeysChannel) forget()
  }
  const onClose = (): void => {
    isListening = false
    forget()
  }
  const subscribe = async (): Promise<void> => {
    try {
      await subscriber.subscribe(keys.apiKeysChannel)
      isListening = true
    } catch {
      // The connection went away again; `ready` comes once more.
      isListening = false
    }
  }
  const onReady = (): void => void subscribe()
  subscriber.on('message', onMessage)
  subscriber.on('close', onClose)
  subscriber.on('ready', onReady)
  void subscribe()

  return {
    /** The working key with this hash, or null. */
    async find(hash: string): Promise<ApiKey | null> {
      const known = entries.get(hash)
      if (known && known.untilMs > Date.now()) return known.key
      const before = generation
      const key = await apiKeys.find(hash)
      if (key && isListening && before === generation) {
        const oldest = entries.keys().next()
        if (entries.size >= ENTRIES_MAX && !oldest.done) entries.delete(oldest.value)
        entries.set(hash, { key, untilMs: Date.now() + TTL_MS })
      }
      return key
    },

    close(): void {
      subscriber.off('message', onMessage)
      subscriber.off('close', onClose)
      subscriber.off('ready', onReady)
    },
  }
}

export type KeyCache = ReturnType<typeof createKeyCache>
