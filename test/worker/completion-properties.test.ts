import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLog } from '../../shared/log.ts'
import { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { CredentialBundle, Plan } from '../../shared/schemas/plan.ts'
import { createCompletion } from '../../worker/completion.ts'
import { plainError } from '../../worker/providers/classify.ts'
import type { CallOutcome } from '../../worker/providers/provider.ts'
import { RunningJobs } from '../../worker/running.ts'
import { testBundle, testDeployment, testPlan, testStore, type TestStore } from '../support/store.ts'

let store: TestStore
beforeEach(async () => {
  store = testStore()
  await store.window.beat('w1', 100, 60_000)
})
afterEach(() => store.cleanup())

const GROUPS = ['a', 'b', 'c', 'd'] as const
const group = fc.constantFrom(...GROUPS)
const table = fc.dictionary(fc.oneof(group, fc.constant('*')), fc.uniqueArray(group, { maxLength: 4 }))
// A 429 rests its key for a second at least: jobs that wait for one are not what is looked at here.
const failures = ErrorClass.options.filter((name) => name !== 'rate_limit')
const outcome = fc.oneof(
  { weight: 1, arbitrary: fc.constant('reply' as const) },
  { weight: 4, arbitrary: fc.constantFrom(...failures) },
)

const scenario = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 4, maxLength: 4 }),
  tables: fc.record(
    { fallbacks: table, context_window_fallbacks: table, content_policy_fallbacks: table },
    { requiredKeys: ['fallbacks'] },
  ),
  max_fallbacks: fc.nat(5),
  max_attempts: fc.integer({ min: 1, max: 8 }),
  num_retries: fc.nat(3),
  policy: fc.dictionary(fc.constantFrom(...failures, 'default'), fc.nat(2), { maxKeys: 4 }),
  answers: fc.array(outcome, { maxLength: 40 }),
})

type Call = { model: string; key: string | null }

/** Runs one job to where it stands still; the provider answers call by call. */
async function run(plan: Plan, answers: readonly (ErrorClass | 'reply')[]) {
  const calls: Call[] = []
  const bundles = plan.deployments.map(({ model }) => testBundle(model, `sk-of-${model}`))
  const created = await store.jobs.create(store.jobInput({ plan, bundles }))
  if (created.kind !== 'created') throw new Error(created.kind)
  const log = createLog('silent', 'test')
  const completion = createCompletion({
    ...store,
    running: new RunningJobs(store.claims, 10_000, log),
    providers: ({ model, api_key: key }: CredentialBundle) => ({
      call: async () => {
        calls.push({ model, key })
        return outcomeOf(answers[calls.length - 1] ?? 'reply')
      },
    }),
    operatorBundles: new Map(),
    crashesMax: 3,
    retryInitialMs: 1,
    random: Math.random,
    log,
    afterSettle: () => {},
    afterSnooze: () => {},
  })
  const entry = store.queued.findLast(({ id }) => id === created.id)
  if (!entry) throw new Error('it was not queued')
  const ended = await completion.run(entry)
  const job = (await store.jobs.read('acme', created.id))?.job
  if (!job) throw new Error('it is gone')
  return { calls, ended, job }
}

function outcomeOf(answer: ErrorClass | 'reply'): CallOutcome {
  if (answer !== 'reply') return { kind: 'error', error: plainError(answer, `played: ${answer}`) }
  const body = Buffer.from('{"choices":[]}')
  return {
    kind: 'reply',
    reply: { status: 200, body, requestId: null, usage: null, isFiltered: false, headers: {}, restMs: null },
  }
}

test('whatever fails in whatever order: the budget holds, no group comes twice, each call has its own deployment’s key, and the job ends', async () => {
  let round = 0
  await fc.assert(
    fc.asyncProperty(scenario, async ({ sizes, tables, policy, answers, ...settings }) => {
      round += 1
      const deployments = GROUPS.flatMap((name, at) =>
        Array.from({ length: sizes[at] ?? 1 }, (_, position) =>
          testDeployment(`r${round}-${name}${position}`, { group: name }),
        ),
      )
      const plan = testPlan(deployments, {
        ...settings,
        ...tables,
        group: 'a',
        // A job may wait for a cooldown; here each must come to its end.
        disable_cooldowns: true,
        retry_policies: { '*': policy },
      })
      const { calls, ended, job } = await run(plan, answers)

      expect(ended.kind).toBe('settled')
      expect(['completed', 'failed']).toContain(job.status)
      for (const { model, key } of calls) expect(key).toBe(`sk-of-${model}`)
      // Dead keys cost nothing of the budget, whatever stands in the log as one.
      const free = new Set(['authentication', 'payment_required', 'permission_denied', 'egress_refused'])
      const counted = job.attempts.filter(({ error_class: name }) => name === null || !free.has(name))
      expect(counted.length).toBeLessThanOrEqual(plan.max_attempts)
      expect(job.attempts).toHaveLength(calls.length)
      const walked = job.attempts
        .map(({ model_group: name }) => name)
        .filter((name, at, all) => name !== all[at - 1])
      expect(new Set(walked).size).toBe(walked.length)
      expect(walked.length).toBeLessThanOrEqual(plan.max_fallbacks + 1)
      const last = job.attempts.at(-1)
      if (job.status === 'failed' && last?.error_class) expect(job.error?.message).toContain(last.error_class)
    }),
    { numRuns: 150 },
  )
})
