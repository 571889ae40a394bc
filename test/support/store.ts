import { randomBytes } from 'node:crypto'
import { createClaims } from '../../shared/jobs/claims.ts'
import { createDeploymentState, type Clock } from '../../shared/routing/deployment-state.ts'
import { createIds } from '../../shared/ids.ts'
import { createJobs, type JobInput } from '../../shared/jobs/jobs.ts'
import { createJobStreams } from '../../shared/jobs/job-streams.ts'
import { createKeys } from '../../shared/keys.ts'
import { createLog } from '../../shared/log.ts'
import type { FedJob, JobQueue } from '../../shared/jobs/queues.ts'
import type { CredentialBundle, Plan, PlanDeployment } from '../../shared/schemas/plan.ts'
import { createSealer } from '../../shared/seal.ts'
import { createSettle } from '../../shared/jobs/settle.ts'
import { createWindow } from '../../shared/jobs/window.ts'
import { createStreaming } from '../../worker/streaming.ts'
import { testRedis } from './redis.ts'

/** A deployment as a plan holds it; `id` names it in every respect. */
export function testDeployment(id: string, change: Partial<PlanDeployment> = {}): PlanDeployment {
  return {
    id,
    key_id: `key-${id}`,
    group: 'main',
    name: `openai/${id}`,
    provider: 'openai',
    model: id,
    weight: null,
    rpm: null,
    tpm: null,
    num_retries: null,
    timeout_s: null,
    cooldown_time_s: null,
    allowed_fails: null,
    ...change,
  }
}

/** A plan with LiteLLM's defaults. */
export function testPlan(deployments: PlanDeployment[], change: Partial<Plan> = {}): Plan {
  return {
    source: 'user_config',
    owner_id: 'owner',
    group: deployments[0]?.group ?? 'main',
    deployments,
    fallbacks: {},
    max_fallbacks: 5,
    request_num_retries: null,
    num_retries: 2,
    retry_after_s: 0,
    timeout_s: 600,
    allowed_fails: null,
    cooldown_time_s: 5,
    disable_cooldowns: false,
    max_attempts: 12,
    ...change,
  }
}

export function testBundle(model: string, apiKey: string): CredentialBundle {
  return {
    provider: 'openai',
    model,
    api_base: 'https://api.openai.com/v1',
    trusted_base: false,
    api_key: apiKey,
    api_version: null,
    organization: null,
    azure_ad_token: null,
    headers: {},
    params: {},
  }
}

/**
 * The stores on the run's Redis under a prefix of their own, with a queue that only remembers what it was given.
 * The caller calls `cleanup`.
 */
export function testStore(options: { leaseMs?: number; windowMs?: number } = {}) {
  const own = testRedis()
  const { redis } = own
  const keys = createKeys(own.prefix)
  const ids = createIds('a stable secret of this test run')
  const sealer = createSealer([{ id: 'k1', key: randomBytes(32) }])
  const queued: FedJob[] = []
  const queue: JobQueue = {
    add: async (fed) => void queued.push(...fed),
    has: async (job) => queued.some(({ id, generation }) => id === job.id && generation === job.generation),
    close: async () => {},
  }
  const window = createWindow(redis, keys)
  const log = createLog('silent', 'test')
  const times = { resultRetentionMs: 86_400_000, idempotencyRetentionMs: 86_400_000 }
  const settle = createSettle({ redis, keys, sealer, ids, ...times })
  const jobs = createJobs({ redis, queue, keys, sealer, ids, window, settle, log, ...times })
  const claims = createClaims({ redis, keys, sealer, leaseMs: options.leaseMs ?? 10_000 })
  const streamOf = createJobStreams({ redis, keys, sealer })
  const streaming = createStreaming({ streamOf, lose: () => {}, ...times })
  /** One more process' view of the same deployments. */
  const makeState = (
    change: { wakeOthers?: (ids: readonly string[]) => Promise<string[]>; now?: Clock } = {},
  ) =>
    createDeploymentState({
      redis,
      keys,
      windowMs: options.windowMs ?? 60_000,
      leaseMs: options.leaseMs ?? 10_000,
      wakeOthers: (jobIds) => window.wakeNow(jobIds),
      ...change,
    })
  const state = makeState()

  function jobInput(change: Partial<JobInput> = {}): JobInput {
    const tenant = change.tenant ?? 'acme'
    return {
      id: ids.newJobId(tenant),
      tenant,
      customer: null,
      endpoint: '/v1/chat/completions',
      model: 'main',
      mode: 'async',
      plan: testPlan([testDeployment('one')]),
      bundles: [testBundle('one', 'sk-secret-of-one')],
      body: { model: 'main', messages: [{ role: 'user', content: 'the prompt' }] },
      webhook: null,
      metadata: {},
      priority: 'normal',
      delayMs: 0,
      expiresInMs: 60_000,
      resultTtlMs: 3_600_000,
      onCrash: 'retry',
      warnings: [],
      idempotency: null,
      ...change,
    }
  }

  return {
    ...own,
    keys,
    ids,
    sealer,
    queue,
    queued,
    window,
    settle,
    jobs,
    claims,
    streamOf,
    streaming,
    state,
    makeState,
    jobInput,
  }
}

export type TestStore = ReturnType<typeof testStore>
