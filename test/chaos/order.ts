import { ownConfig } from '../support/requests.ts'
import type { Random } from './random.ts'

export const KINDS = ['sync', 'stream', 'async', 'keyed', 'batch'] as const
export type Kind = (typeof KINDS)[number]

/** One thing that a client does, decided before anything is sent. */
export type Order = {
  number: number
  /** In the prompt and in the job's metadata. */
  mark: string
  kind: Kind
  tenant: string
  customer: string | null
  priority: 'high' | 'normal' | 'low'
  /** Seconds; 0: at once. */
  delay: number
  hasWebhook: boolean
  /** Milliseconds after which it is cancelled; null: it is not. */
  cancelAfterMs: number | null
  /** Whether somebody long-polls for its end. */
  isFollowed: boolean
  /** Of a batch. */
  lines: number
  config: 'plain' | 'fallback' | 'narrow'
}

/** How many of a hundred are of which kind. */
export type Mix = Record<Kind, number>

/** All kinds of work that there are, sync calls above all. */
export const EVERYTHING: Mix = { sync: 45, stream: 15, async: 24, keyed: 15, batch: 1 }

/** The next one; the same for the same source, whatever became of those before it. */
export function nextOrder(
  random: Random,
  number: number,
  { name, tenants, mix }: { name: string; tenants: readonly string[]; mix: Mix },
): Order {
  const kind = pickKind(random, mix)
  const isLater = kind === 'async' || kind === 'keyed'
  // Each of them draws in any case: a change of one choice moves none of the others.
  const draws = {
    tenant: random.pick(tenants),
    customer: random.chance(0.3) ? `customer-${random.between(1, 4)}` : null,
    priority: random.pick(['high', 'normal', 'normal', 'low'] as const),
    delay: random.chance(0.1) ? random.between(1, 3) : 0,
    hasWebhook: random.chance(0.5),
    cancelAfterMs: random.chance(0.06) ? random.between(0, 400) : null,
    isFollowed: random.chance(0.4),
    lines: random.between(20, 60),
    config: random.pick(['plain', 'plain', 'fallback', 'narrow'] as const),
  }
  return {
    ...draws,
    number,
    mark: `${name}-${number}`,
    kind,
    delay: isLater ? draws.delay : 0,
    hasWebhook: (isLater || kind === 'batch') && draws.hasWebhook,
    cancelAfterMs: isLater ? draws.cancelAfterMs : null,
    lines: kind === 'batch' ? draws.lines : 1,
  }
}

function pickKind(random: Random, mix: Mix): Kind {
  const sum = KINDS.reduce((all, kind) => all + mix[kind], 0)
  let left = random.next() * sum
  for (const kind of KINDS) {
    left -= mix[kind]
    if (left < 0) return kind
  }
  return 'sync'
}

/** The config that its client sends along: keys of its tenant's own, at the rig's provider. */
export function configOf({ tenant, config }: Order, url: string) {
  const settings = { num_retries: 3, disable_cooldowns: true }
  const key = `sk-${tenant}`
  if (config === 'plain') return ownConfig({ url, key }, settings)
  // Calls stand in line for a place: leases and lines of deployments are at work as well.
  if (config === 'narrow') return ownConfig({ url, key: `${key}-narrow`, max_parallel_requests: 6 }, settings)
  const other = ownConfig({ url, key: `${key}-other`, group: 'other', model: 'openai/gpt-other' })
  const mine = ownConfig({ url, key: `${key}-first` })
  return {
    model_list: [...mine.model_list, ...other.model_list],
    fallbacks: [{ mine: ['other'] }],
    ...settings,
  }
}
