import type { Redis } from 'ioredis'

const PAGE = 200
// A filter that matches nothing must not walk through all that a tenant ever had.
const EXAMINED_MAX = 10_000

/** `goOnFrom`: the id looked at last when the search was cut off, which the next page starts from; else null. */
export type IdPage = { ids: string[]; hasMore: boolean; goOnFrom: string | null }

/**
 * A page of a sorted set of ids, newest first, of those that match. One call looks at no more than 10,000.
 * @returns null when `after` is none of the ids.
 */
export async function newestFirst(
  redis: Redis,
  index: string,
  { after, limit }: { after?: string | undefined; limit: number },
  matching: (ids: readonly string[]) => Promise<string[]>,
): Promise<IdPage | null> {
  const rank = after === undefined ? -1 : await redis.zrevrank(index, after)
  if (rank === null) return null
  const found: string[] = []
  let goOnFrom: string | null = null
  let examined = 0
  while (found.length <= limit && examined < EXAMINED_MAX) {
    const start = rank + 1 + examined
    const ids = await redis.zrevrange(index, start, start + PAGE - 1)
    if (ids.length === 0) break
    found.push(...(await matching(ids)))
    examined += ids.length
    goOnFrom = ids.at(-1) ?? null
  }
  const isWhole = found.length > limit || examined < EXAMINED_MAX
  return {
    ids: found.slice(0, limit),
    hasMore: !isWhole || found.length > limit,
    goOnFrom: isWhole ? null : goOnFrom,
  }
}
