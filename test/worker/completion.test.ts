import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Failure } from '../../shared/routing/deployment-state.ts'
import { createLog } from '../../shared/log.ts'
import type { Plan } from '../../shared/schemas/plan.ts'
import { createCompletion, type CompletionDeps } from '../../worker/completion.ts'
import type { CallOutcome, ProviderError } from '../../worker/providers/provider.ts'
import { RunningJobs } from '../../worker/running.ts'
import { testBundle, testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

let store: TestStore
let called: string[]
beforeEach(async () => {
  store = testStore()
  called = []
  await store.window.beat('w1', 100, 60_000)
})
afterEach(() => store.cleanup())

const error = (change: Partial<ProviderError>): CallOutcome => ({
  kind: 'error',
  error: {
    class: 'service_unavailable',
    status: 503,
    message: 'The provider is busy.',
    type: 'server_error',
    param: null,
    code: null,
    isRetryable: true,
    retryAfterMs: null,
    isPossiblyBilled: false,
    headers: {},
    ...change,
  },
})
const reply: CallOutcome = {
  kind: 'reply',
  reply: {
    status: 200,
    body: Buffer.from('{"choices":[]}'),
    requestId: null,
    usage: null,
    isFiltered: false,
    headers: {},
    restMs: null,
  },
}

/** Submits a job with this plan and runs it once; the provider answers by the deployment's model. */
async function runJob(plan: Plan, answers: Record<string, CallOutcome | CallOutcome[]>) {
  const bundles = plan.deployments.map(({ model }) => testBundle(model, `sk-${model}`))
  const created = await store.jobs.create(store.jobInput({ plan, bundles }))
  if (created.kind !== 'created') throw new Error(created.kind)
  const log = createLog('silent', 'test')
  const running = new RunningJobs(store.claims, 10_000, log)
  const providers: CompletionDeps['providers'] = ({ model }) => ({
    call: async () => {
      called.push(model)
      const planned = answers[model] ?? reply
      return Array.isArray(planned) ? (planned.shift() ?? reply) : planned
    },
  })
  const completion = createCompletion({
    ...store,
    running,
    providers,
    operatorBundles: new Map(),
    crashesMax: 3,
    retryInitialMs: 500,
    random: () => 0.5,
    log,
    afterSettle: () => {},
    afterSnooze: () => {},
  })
  const entry = store.queued.findLast(({ id }) => id === created.id)
  if (!entry) throw new Error('it was not queued')
  const outcome = await completion.run(entry)
  const job = (await store.jobs.read('acme', created.id))?.job
  if (!job) throw new Error('it is gone')
  return { outcome, job }
}

test('a job whose attempts are used up ends at once with the provider’s error, whatever back-off was asked', async () => {
  const plan = testPlan([testDeployment('one')], { max_attempts: 1 })
  const { outcome, job } = await runJob(plan, { one: error({ retryAfterMs: 600_000 }) })
  expect(outcome).toEqual({ kind: 'settled', status: 'failed' })
  expect(job).toMatchObject({ error: { message: 'The provider is busy.' }, response: { status_code: 503 } })
})

test('a deployment that failed is left for its back-off while a fresh one that only cools is not called instead', async () => {
  const [one, two] = [testDeployment('one'), testDeployment('two', { allowed_fails: 0 })]
  const plan = testPlan([one, two])
  const failure: Failure = {
    class: 'internal_server',
    strategy: null,
    status: 500,
    isClientsMistake: false,
    retryAfterMs: 60_000,
    isPossiblyBilled: false,
    groupSize: 2,
  }
  const tokens = { input: 0, output: 0 }
  await store.state.fail(
    plan,
    { deployment: two, bookedAt: 0, isProbe: false, tokens, holder: null },
    failure,
  )
  const { outcome, job } = await runJob(plan, { one: error({ retryAfterMs: 30_000 }) })
  expect(called).toEqual(['one'])
  expect(outcome.kind === 'snoozed' && outcome.waitMs).toBeGreaterThan(29_000)
  expect(job.queue.state).toBe('retrying')
})

test('a fresh deployment is called at once instead of the one that failed', async () => {
  const { job } = await runJob(testPlan([testDeployment('one'), testDeployment('two')]), {
    one: error({ retryAfterMs: 30_000 }),
    two: reply,
  })
  expect(job.status).toBe('completed')
  expect(called.at(-1)).toMatch(/one|two/)
  expect(called.length).toBeLessThanOrEqual(2)
})

test('a primary at its limit is waited for when the fallback fails', async () => {
  const primary = testDeployment('primary', { group: 'a', rpm: 1 })
  const plan = testPlan([primary, testDeployment('spare', { group: 'b' })], {
    group: 'a',
    fallbacks: { a: ['b'] },
  })
  await store.state.reserve(plan, [{ deployment: primary, tier: 1 }], {
    holder: 'another job',
    tokens: { input: 0, output: 0 },
    slot: null,
    keepsPlace: false,
    ranking: null,
  })
  const refused = error({ class: 'authentication', status: 401, isRetryable: false })
  const { outcome, job } = await runJob(plan, { spare: refused })
  expect(called).toEqual(['spare'])
  expect(outcome.kind).toBe('snoozed')
  expect(job.queue.state).toBe('rate_limited')
})

test('a redirect, which nobody follows, goes on to the fallback', async () => {
  const plan = testPlan(
    [testDeployment('primary', { group: 'a' }), testDeployment('spare', { group: 'b' })],
    {
      group: 'a',
      fallbacks: { a: ['b'] },
    },
  )
  const { job } = await runJob(plan, {
    primary: error({ class: 'api_error', status: 301, isRetryable: false }),
  })
  expect([job.status, called]).toEqual(['completed', ['primary', 'spare']])
})

test('a refused key of the user is not told as the gateway’s own 401', async () => {
  const refused = error({ class: 'authentication', status: 401, isRetryable: false, code: 'invalid_api_key' })
  const { job } = await runJob(testPlan([testDeployment('one')]), { one: refused })
  expect(job.error).toMatchObject({ type: 'authentication_error', code: 'invalid_provider_key' })
})

test('a job that can not be opened fails with what it knew of its calls', async () => {
  const created = await store.jobs.create(store.jobInput())
  if (created.kind !== 'created') throw new Error(created.kind)
  await store.redis.hset(store.keys.job(created.id), 'cred', Buffer.from('damaged'))
  const log = createLog('silent', 'test')
  const completion = createCompletion({
    ...store,
    running: new RunningJobs(store.claims, 10_000, log),
    providers: () => ({ call: async () => reply }),
    operatorBundles: new Map(),
    crashesMax: 3,
    retryInitialMs: 500,
    random: () => 0.5,
    log,
    afterSettle: () => {},
    afterSnooze: () => {},
  })
  expect(await completion.run({ id: created.id, generation: 1 })).toEqual({
    kind: 'settled',
    status: 'failed',
  })
  expect((await store.jobs.read('acme', created.id))?.job.error?.code).toBe('seal_open_failed')
})
