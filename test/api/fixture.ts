import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { InjectOptions } from 'fastify'
import { buildApp } from '../../api/app.ts'
import { openBatches } from '../../api/batches.ts'
import { createBoard } from '../../api/board.ts'
import { createDurable } from '../../api/durable.ts'
import { createHolds } from '../../api/holds.ts'
import { createKeyCache } from '../../api/key-cache.ts'
import { createPresence } from '../../api/presence.ts'
import { openWebhooks } from '../../api/webhooks.ts'
import { createAccounts } from '../../shared/tenants/accounts.ts'
import { createApiKeys } from '../../shared/tenants/api-keys.ts'
import { createCapacity } from '../../shared/capacity.ts'
import { openDurability } from '../../shared/durability.ts'
import { createEgressPolicy } from '../../shared/egress.ts'
import { openFileStore } from '../../shared/files/file-store.ts'
import { createLog } from '../../shared/log.ts'
import { loadOperatorConfig } from '../../shared/settings/operator-config.ts'
import { formatLog, type AnswerFacts } from '../../shared/jobs/record-texts.ts'
import type { Attempt, JobError } from '../../shared/schemas/job.ts'
import { createSettledListener } from '../../shared/jobs/settled.ts'
import { createStoredCredentials } from '../../shared/credentials/stored-credentials.ts'
import { createStreamListener } from '../../shared/jobs/stream-listener.ts'
import { createTenants } from '../../shared/tenants/tenants.ts'
import { createUsage } from '../../shared/tenants/usage.ts'
import { eventually } from '../support/eventually.ts'
import { testStore } from '../support/store.ts'

export const MASTER_KEY = 'sk-master-of-the-tests'

/** What a mock provider's deployment answers: no worker of the API tests ever calls one. */
const MODEL_LIST = [
  { model_name: 'mine', litellm_params: { model: 'openai/gpt-test', api_key: 'sk-client' } },
]

/** A body that the API accepts, on the client's own key. */
export function ask(extra: object = {}) {
  return {
    model: 'mine',
    messages: [{ role: 'user', content: 'hello' }],
    user_config: { model_list: MODEL_LIST },
    ...extra,
  }
}

/** The API of one process on real stores, with the test in the place of the worker. The caller calls `close`. */
export async function startApi(
  options: {
    cancelsWhenLeft?: boolean
    leftMs?: number
    configYaml?: string
    syncHoldMs?: number
    bodyBytesMax?: number
    receiveMs?: number
    heartbeatMs?: number
    tenantBytesMax?: number
    fileBytesMax?: number
    batchBytesMax?: number
  } = {},
) {
  const store = testStore()
  const log = createLog('silent', 'test')
  const subscriber = store.redis.duplicate()
  const settled = createSettledListener(subscriber, store.keys, 'this-process')
  await settled.start()
  settled.lookAfter(store.redis)
  const streamSubscriber = store.redis.duplicate()
  const streams = createStreamListener(streamSubscriber, store.streamOf, store.keys)
  const apiKeys = createApiKeys({ redis: store.redis, keys: store.keys })
  const tenants = createTenants({ redis: store.redis, keys: store.keys, ids: store.ids })
  const keyCache = createKeyCache({ apiKeys, tenants, subscriber, keys: store.keys })
  const egress = createEgressPolicy({ allowedCidrs: [] })
  const holds = createHolds()
  const folder = mkdtempSync(join(tmpdir(), 'byok-test-files-'))
  const fileStore = openFileStore(`file:${folder}`)
  const capacity = createCapacity({
    redis: store.redis,
    keys: [store.keys],
    log,
    highWater: 1,
    bytesMax: null,
  })
  const batches = openBatches({
    capacity,
    redis: store.redis,
    subscriber,
    keys: store.keys,
    ids: store.ids,
    sealer: store.sealer,
    store: fileStore,
    log,
    inputLimits: {
      bytesMax: options.batchBytesMax ?? 200_000_000,
      lineBytesMax: 1_000_000,
      linesMax: 50_000,
    },
    tenantBytesMax: options.tenantBytesMax ?? 1_000_000_000,
    retentionMs: 86_400_000,
    idempotencyRetentionMs: 86_400_000,
  })
  const webhooks = openWebhooks({
    redis: store.redis,
    keys: store.keys,
    ids: store.ids,
    sealer: store.sealer,
    capacity,
    timeoutMs: 1_000,
    scheduleSeconds: [0, 1],
    breakerMs: 1_000,
    rampMs: 1_000,
    eventRetentionMs: 86_400_000,
    retentionMs: 86_400_000,
    jobRetentionMs: 86_400_000,
  })
  const presence = createPresence({
    redis: store.redis,
    keys: store.keys,
    jobs: store.jobs,
    cancelsWhenLeft: options.cancelsWhenLeft ?? false,
    leftMs: options.leftMs ?? 600_000,
  })
  const durability = openDurability({ url: store.url, fsyncTimeoutMs: 1_000 }, log)
  const durable = createDurable({ durability, keysOf: () => store.keys })
  const jobs = durable.jobs(store.jobs)
  const board = createBoard({ redis: store.redis, shards: [store.keys] })
  const app = await buildApp({
    log,
    board,
    redis: store.redis,
    capacity,
    readiness: { reasons: () => [] },
    jobs,
    state: store.state,
    settled,
    streams,
    presence,
    heartbeatMs: options.heartbeatMs ?? 15_000,
    ...batches.services,
    batches: durable.batches(batches.services.batches),
    requireDurability: durable.require,
    untilDurable: durable.file,
    ...webhooks.services,
    fileBytesMax: options.fileBytesMax ?? 20_000_000,
    ids: store.ids,
    apiKeys,
    tenants,
    accounts: createAccounts(store),
    usage: createUsage(store),
    keyCache,
    credentials: createStoredCredentials(store),
    holds,
    operator: loadYaml(options.configYaml),
    cache: null,
    masterKey: MASTER_KEY,
    egress,
    webhookEgress: egress,
    times: {
      syncDeadlineMs: 600_000,
      asyncDeadlineMs: 86_400_000,
      syncRetentionMs: 600_000,
      resultRetentionMs: 86_400_000,
    },
    syncHoldMs: options.syncHoldMs ?? 5_000,
    idSecret: 'an-id-secret-for-tests',
    bodyBytesMax: options.bodyBytesMax ?? 10 * 1024 * 1024,
    receiveMs: options.receiveMs,
  })

  return {
    app,
    store,
    /** As the routes have them. */
    jobs,
    /** Files and batches. */
    batches: batches.services,
    /** Where files lie. */
    folder,
    apiKeys,
    tenants,
    holds,
    settled,

    /** One call with the master key, unless headers say otherwise. A string is sent as it is. */
    async call(method: 'GET' | 'POST' | 'DELETE' | 'HEAD', url: string, call: Call = {}) {
      const headers: Record<string, string> = { authorization: `Bearer ${call.key ?? MASTER_KEY}` }
      if (call.body !== undefined) headers['content-type'] = 'application/json'
      Object.assign(headers, call.headers)
      const payload = call.body as InjectOptions['payload']
      const response = await app.inject({ method, url, headers, payload })
      const { statusCode: status, body: text } = response
      const isJson = String(response.headers['content-type']).includes('json')
      return { status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
    },

    /** How many jobs were stored in all. */
    stored: async () => (await store.redis.keys(`${store.keys.jobPrefix}*`)).length,

    /** Plays the worker: takes the next job that is fed and ends it. @returns the claim it ran under. */
    async work(end: WorkEnd = {}) {
      const fed = await eventually('a job is fed', () => store.queued.shift())
      const result = await store.claims.claim(fed)
      if (result.kind !== 'claimed') throw new Error(`The claim was answered ${result.kind}.`)
      const { claim } = result
      const place = { tenant: claim.subject.tenant, kind: 'job' as const, id: claim.id, field: 'out' }
      const ended = {
        ...(end.body !== undefined && {
          out: store.sealer.seal(place, end.body),
          statusCode: end.status ?? 200,
        }),
        ...(end.facts && { answer: end.facts }),
        ...(end.cost !== undefined && { cost: end.cost }),
      }
      const attempts = formatLog(end.attempts ?? [], claim.meta.model)
      const status = end.error ? 'failed' : 'completed'
      const by = end.error ? 'claim' : 'complete'
      await store.settle.settle(claim.subject, by, claim.token, status, end.error ?? null, attempts, ended)
      return claim
    },

    async close() {
      await app.close()
      await board.close()
      durability.close()
      await presence.close()
      keyCache.close()
      settled.close()
      await batches.close()
      await webhooks.close()
      subscriber.disconnect()
      streamSubscriber.disconnect()
      await fileStore.close()
      await store.cleanup()
      rmSync(folder, { recursive: true })
    },
  }
}

export type TestApi = Awaited<ReturnType<typeof startApi>>

export type Call = { key?: string; body?: unknown; headers?: Record<string, string> }
export type WorkEnd = {
  body?: string
  status?: number
  error?: JobError
  facts?: AnswerFacts
  cost?: number
  attempts?: Attempt[]
}

function loadYaml(text: string | undefined) {
  if (text === undefined) return loadOperatorConfig(null, {})
  const folder = mkdtempSync(join(tmpdir(), 'byok-test-api-'))
  const file = join(folder, 'config.yaml')
  writeFileSync(file, text)
  try {
    return loadOperatorConfig(file, {})
  } finally {
    rmSync(folder, { recursive: true })
  }
}
