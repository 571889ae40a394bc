import type { LineCredentials } from '../shared/batches/batch-lines.ts'
import { createLinePlans } from '../shared/batches/line-plans.ts'
import { NONE_NAMED, type StoredCredential } from '../shared/credentials/named-credentials.ts'

// A batch is validated in one go, and may have as many as a tenant.
const OPEN_MAX = 200

/**
 * Stored credentials that the lines of one chunk name, each read once. They are dropped with the chunk: one that was deleted
 * or changed since is so for the next.
 */
export function createChunkCredentials(open: (id: string) => Promise<StoredCredential | null>) {
  const opened = new Map<string, Promise<StoredCredential | null>>()
  const plans = createLinePlans()
  const none: LineCredentials = { named: NONE_NAMED, plans }

  function openOnce(id: string): Promise<StoredCredential | null> {
    const known = opened.get(id)
    if (known) return known
    if (opened.size >= OPEN_MAX) opened.clear()
    const found = open(id).catch((error: unknown) => {
      opened.delete(id)
      throw error
    })
    opened.set(id, found)
    return found
  }

  return {
    /** Of a line that names none. */
    none,
    /** What a line needs for its plan. */
    async of(ids: readonly string[]): Promise<LineCredentials> {
      const found = await Promise.all(ids.map(async (id) => [id, await openOnce(id)] as const))
      return { named: new Map(found.flatMap(([id, stored]) => (stored ? [[id, stored]] : []))), plans }
    },
  }
}

export type ChunkCredentials = ReturnType<typeof createChunkCredentials>
