// How much of a key's limit is used while work waits, at a provider that holds it to that exactly, and how many calls are sent in
// vain. A share is the time that the same calls take at the least, one full window after the other, of the time they took.
import { setTimeout as sleep } from 'node:timers/promises'
import type { LoadOrder, LoadResult } from '../processes/load-generator.ts'
import type { LimitOrder, SeenKey, SeenKeys } from '../processes/limited-provider.ts'
import { ask, type Child, type Children } from '../support/children.ts'
import { checkGateway, gatewayRequest, project, startGateway, startRedis } from '../support/gateway.ts'
import type { Figure, Measure, Measured, Size } from '../support/measure.ts'
import { completionBody, type BenchRequest } from '../support/requests.ts'

const WINDOWS = 3
// As many as make four bytes each of the tokens that the answer tells of, and a few more.
const PROMPT_BYTES = 1_040
/**
 * What each call takes of a key's tokens: its answer says so. A little less than can be known before: 200 for 800 bytes of prompt
 * and the 64 that the answer may have at the most.
 */
const TOKENS_EACH = 250
const CALLS_A_WINDOW = 300
const AT_LEAST_PERCENT = 97
const REFUSED_MOST_PERCENT = 1
// Work waits to the end: a part of another window.
const JOBS = Math.ceil(CALLS_A_WINDOW * (WINDOWS + 0.5))
const NEVER = 1e9
const POLL_MS = 250

/** Share of a key's limits that is used. */
export const limits: Measure = { name: 'limits', title: 'Share of a key’s rpm and tpm while work waits', run }

const KEYS = {
  rpm: { own: { rpm: CALLS_A_WINDOW }, provider: { requests: CALLS_A_WINDOW, tokens: NEVER } },
  tpm: {
    own: { tpm: CALLS_A_WINDOW * TOKENS_EACH },
    provider: { requests: NEVER, tokens: CALLS_A_WINDOW * TOKENS_EACH },
  },
} as const
type Kind = keyof typeof KEYS
const KINDS = ['rpm', 'tpm'] as const satisfies readonly Kind[]

async function run(children: Children, { isQuick, profileFolder }: Size): Promise<Measured> {
  const windowMs = isQuick ? 10_000 : 60_000
  const provider = await children.startHelper('provider', project('bench/processes/limited-provider.ts'))
  const load = await children.startHelper('load', project('bench/processes/load-generator.ts'))
  const redis = await startRedis(children)
  const gateway = await startGateway({
    children,
    redisUrls: { api: redis.url, worker: redis.url },
    profileFolder,
    env: { GATEWAY_LIMIT_WINDOW_MS: String(windowMs) },
  })
  const whole = gatewayRequest(gateway, provider.url, PROMPT_BYTES, '')
  await checkGateway(gateway, whole)
  const tell = (order: LimitOrder) => ask<SeenKeys>(provider, order, 10_000)
  await tell({ windowMs, tokensEach: TOKENS_EACH, limits: Object.fromEntries(KINDS.map(limitOf)) })

  for (const kind of KINDS) await submitAll(load, requestOf(whole, provider.url, kind))
  const needed = CALLS_A_WINDOW * WINDOWS + 1
  const seen = await waitForCalls(tell, needed, windowMs)
  const figures = KINDS.flatMap((kind) => figuresOf(kind, seen[keyOf(kind)], windowMs))
  return { figures, details: { windowMs, callsAWindow: CALLS_A_WINDOW, seen } }
}

function keyOf(kind: Kind): string {
  return `sk-bench-${kind}-0123456789`
}

function limitOf(kind: Kind) {
  return [keyOf(kind), KEYS[kind].provider] as const
}

function requestOf(whole: BenchRequest, provider: string, kind: Kind): BenchRequest {
  const params = {
    model: 'openai/gpt-test',
    api_key: keyOf(kind),
    api_base: `${provider}/v1`,
    ...KEYS[kind].own,
  }
  const { model, ...rest } = completionBody(PROMPT_BYTES)
  const user_config = { model_list: [{ model_name: model, litellm_params: params }], num_retries: 0 }
  const headers = { ...whole.headers, prefer: 'respond-async' }
  return { ...whole, headers, status: 202, body: JSON.stringify({ model, ...rest, user_config }) }
}

async function submitAll(load: Child, request: BenchRequest): Promise<void> {
  const order: LoadOrder = { request, connections: 20, seconds: 300, requestsMax: JOBS }
  const { errors, firstError } = await ask<LoadResult>(load, order, 400_000)
  if (errors > 0) throw new Error(`${errors} submits failed: ${firstError}`)
}

async function waitForCalls(
  tell: (order: LimitOrder) => Promise<SeenKeys>,
  needed: number,
  windowMs: number,
): Promise<SeenKeys> {
  const giveUpAt = performance.now() + windowMs * WINDOWS * 3
  const isEnough = (seen: SeenKeys) =>
    KINDS.every((kind) => (seen[keyOf(kind)]?.takenAt.length ?? 0) >= needed)
  let seen = await tell({})
  while (!isEnough(seen)) {
    if (performance.now() > giveUpAt) throw new Error('The limits were used to less than a third')
    await sleep(POLL_MS)
    seen = await tell({})
  }
  return seen
}

function figuresOf(kind: Kind, seen: SeenKey | undefined, windowMs: number): Figure[] {
  const { takenAt = [], refused = 0 } = seen ?? {}
  const tookMs = (takenAt[CALLS_A_WINDOW * WINDOWS] ?? Number.NaN) - (takenAt[0] ?? Number.NaN)
  return [
    {
      text: `share of a key’s ${kind} used while work waits`,
      reached: ((windowMs * WINDOWS) / tookMs) * 100,
      unit: '%',
      aim: { atLeast: AT_LEAST_PERCENT },
    },
    {
      text: `calls that a key with ${kind} had refused (429)`,
      reached: (refused / (takenAt.length + refused)) * 100,
      unit: '%',
      aim: { atMost: REFUSED_MOST_PERCENT },
    },
  ]
}
