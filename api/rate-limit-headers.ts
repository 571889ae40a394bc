import type { FastifyReply } from 'fastify'
import type { Admission, Refusal, Used } from '../shared/tenants/admission.ts'

const WINDOW_S = 60

/** What a store said of what it was given; kinds that count no request have neither. */
type Stored = { kind: string; used?: Used; createdMs?: number; refusal?: Refusal }

/**
 * Tells how many requests are left of the minute, in both families of headers: those of the IETF draft, and OpenAI's. Of
 * tenant and customer it is the one with less left; without a limit on requests, or when none was counted, nothing is told.
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
 */
export function tellRequestsLeft(
  reply: FastifyReply,
  { tenant, customer }: Pick<Admission, 'tenant' | 'customer'>,
  { used: counted, createdMs, refusal }: Stored,
): void {
  const used = refusal?.used ?? counted
  const atMs = refusal?.atMs ?? createdMs
  const isCounted = refusal !== undefined || (counted?.tenant ?? 0) > 0
  if (used === undefined || atMs === undefined || !isCounted) return
  const all = [
    { name: 'tenant', limit: tenant.requestsPerMinute, used: used.tenant },
    { name: 'customer', limit: customer?.requestsPerMinute ?? null, used: used.customer },
  ]
  const [tightest] = all
    .flatMap((one) =>
      one.limit === null ? [] : { ...one, limit: one.limit, left: Math.max(0, one.limit - one.used) },
    )
    .toSorted((a, b) => a.left - b.left)
  if (!tightest) return
  const { name, limit, left } = tightest
  // Those of this minute begin to count less when it is over, which may not be enough for one that was refused.
  const minuteSeconds = WINDOW_S - Math.floor((atMs % (WINDOW_S * 1000)) / 1000)
  const retrySeconds = refusal?.limit === 'requests' ? Math.ceil(refusal.retryAfterMs / 1000) : 0
  const seconds = Math.max(minuteSeconds, retrySeconds)
  void reply.headers({
    'ratelimit-policy': `"${name}";q=${limit};w=${WINDOW_S}`,
    ratelimit: `"${name}";r=${left};t=${seconds}`,
    'x-ratelimit-limit-requests': String(limit),
    'x-ratelimit-remaining-requests': String(left),
    'x-ratelimit-reset-requests': formatDuration(seconds),
  })
}

// As OpenAI writes it: `59s`, `1m0s`.
function formatDuration(seconds: number): string {
  const minutes = Math.floor(seconds / 60)
  return minutes === 0 ? `${seconds}s` : `${minutes}m${seconds % 60}s`
}
