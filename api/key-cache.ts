import type { Redis } from 'ioredis'
import { hasExpired, type ApiKeys } from '../shared/tenants/api-keys.ts'
import type { Keys } from '../shared/keys.ts'
import type { ApiKey } from '../shared/schemas/api-key.ts'
import type { Tenant } from '../shared/schemas/tenant.ts'
import type { Tenants } from '../shared/tenants/tenants.ts'

const ENTRIES_MAX = 10_000
const TTL_MS = 30_000

/** A key that works; its tenant's record, if it has one. */
export type FoundKey = { key: ApiKey; tenant: Tenant | null }

/**
 * Remembers gateway keys that were found, and their tenants, so that a call costs no round trip for them. A change of either
 * holds at once: it is published, and while this process can't hear the channel nothing is remembered. Unknown keys are not
 * remembered, else somebody guessing would push out the real ones.
 */
export function createKeyCache(deps: {
  apiKeys: Pick<ApiKeys, 'find'>
  tenants: Pick<Tenants, 'get'>
  /** A connection in subscriber mode, shared with others; its owner closes it. */
  subscriber: Redis
  keys: Keys
}) {
  const { apiKeys, tenants, subscriber, keys } = deps
  const entries = new Map<string, { found: FoundKey; untilMs: number }>()
  const records = new Map<string, { record: Tenant | null; untilMs: number }>()
  let isListening = false
  // Counts forgettings: an answer that was on its way when a key was revoked must not be remembered.
  let generation = 0

  function forget(): void {
    generation += 1
    entries.clear()
    records.clear()
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
      // What was read before this may have changed unheard.
      forget()
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

  /** The key with this hash, unless it has expired or its tenant is disabled. */
  async function find(hash: string): Promise<FoundKey | null> {
    const found = recall(entries, hash)?.found ?? (await look(hash))
    return found && !hasExpired(found.key) && (found.tenant?.disabled_at ?? null) === null ? found : null
  }

  async function look(hash: string): Promise<FoundKey | null> {
    const before = generation
    const key = await apiKeys.find(hash)
    if (!key) return null
    const found = { key, tenant: await tenants.get(key.tenant) }
    remember(entries, hash, { found, untilMs: Date.now() + TTL_MS }, before)
    return found
  }

  /** A tenant's record, for whoever comes without a key of the store. */
  async function tenantOf(id: string): Promise<Tenant | null> {
    const known = recall(records, id)
    if (known) return known.record
    const before = generation
    const record = await tenants.get(id)
    remember(records, id, { record, untilMs: Date.now() + TTL_MS }, before)
    return record
  }

  function remember<Entry>(map: Map<string, Entry>, name: string, entry: Entry, before: number): void {
    if (!isListening || before !== generation) return
    const oldest = map.keys().next()
    if (map.size >= ENTRIES_MAX && !oldest.done) map.delete(oldest.value)
    map.set(name, entry)
  }

  function close(): void {
    subscriber.off('message', onMessage)
    subscriber.off('close', onClose)
    subscriber.off('ready', onReady)
  }

  return { find, tenantOf, close }
}

export type KeyCache = ReturnType<typeof createKeyCache>

function recall<Entry extends { untilMs: number }>(map: Map<string, Entry>, name: string): Entry | null {
  const entry = map.get(name)
  return entry && entry.untilMs > Date.now() ? entry : null
}
