import fc from 'fast-check'
import { z } from 'zod'
import { expect, test } from 'vitest'
import { formatBundles, formatPlan, parseBundles, parsePlan } from '../../shared/jobs/plan-text.ts'
import {
  formatEnd,
  formatLog,
  formatMeta,
  parseEnd,
  parseLog,
  parseMeta,
  parseTimes,
  type EndFacts,
} from '../../shared/jobs/record-texts.ts'
import { fromRow, toRow, type RowForm } from '../../shared/jobs/rows.ts'
import { Attempt } from '../../shared/schemas/job.ts'
import { CredentialBundle, Plan, PlanDeployment } from '../../shared/schemas/plan.ts'

/** Any object of a schema's names: its optional fields are there or not, those that may be null are null or not. */
function anyOf<Shape extends z.ZodObject>(
  schema: Shape,
  values: Record<string, fc.Arbitrary<unknown>> = {},
): fc.Arbitrary<z.infer<Shape>> {
  const fields = Object.entries(schema.shape).map(([name, field]) => {
    const value = values[name] ?? fc.oneof(fc.string({ maxLength: 9 }), fc.nat(), fc.constant({ a: [1] }))
    return [name, field instanceof z.ZodNullable ? fc.option(value) : value] as const
  })
  const requiredKeys = Object.keys(schema.shape).filter(
    (name) => !(schema.shape[name] instanceof z.ZodOptional),
  )
  return fc.record(Object.fromEntries(fields), { requiredKeys }) as fc.Arbitrary<z.infer<Shape>> // of these names
}

const time = fc.nat({ max: 2 ** 45 })
const names = fc.constantFrom('azure', 'azure/gpt', 'a/b', '', 'openai', '/')
const attempts = anyOf(Attempt, {
  started_at: time,
  ended_at: time,
  provider: names,
  deployment: fc.oneof(names, fc.constant('azure/gpt/4')),
  possibly_billed: fc.boolean(),
  model_group: fc.constantFrom('gpt-4o', 'own', ''),
})
const groups = fc.constantFrom('gpt-4o', 'own', 'other')
const deployments = anyOf(PlanDeployment, { provider: names, model: names, name: names, group: groups })
/** What the record of a plan says beside it. */
const beside = { owner: 'own', model: 'gpt-4o' }

test('a plan and its credentials are read as they were written, with every field that they may have', () => {
  const plans = anyOf(Plan, {
    deployments: fc.array(deployments, { maxLength: 3 }),
    owner_id: groups,
    group: groups,
  })
  fc.assert(
    fc.property(plans, (plan) => {
      expect(parsePlan(formatPlan(plan, beside), beside)).toEqual(plan)
    }),
  )
  const bundles = fc.array(
    anyOf(CredentialBundle, { mock_response: fc.constantFrom(null, 'ok', { a: null }) }),
  )
  fc.assert(
    fc.property(bundles, (list) => {
      expect(parseBundles(JSON.parse(formatBundles(list)) as unknown[])).toEqual(list)
    }),
  )
})

test('attempts, and what does not change of a job, are read as they were written', () => {
  fc.assert(
    fc.property(attempts, (attempt) => {
      expect(parseLog(formatLog([attempt], 'gpt-4o'), 'gpt-4o')).toEqual([attempt])
    }),
  )
  for (const meta of [usual, unusual]) expect(parseMeta(formatMeta(meta))).toEqual(meta)
})

test('what a job ended with is read as it was written, and is short where it is as mostly', () => {
  const usage = { input_tokens: 1, output_tokens: 2, total_tokens: 3, cached_input_tokens: 0 }
  const answer = { model_id: 'd', model_group: 'gpt-4o', retries: 0, fallbacks: 0, headers: {} }
  const ends: EndFacts[] = [
    {},
    { cost: 0.25 },
    { statusCode: 200, usage, answer },
    { requestId: 'r', answer: { ...answer, headers: { 'x-request-id': 'r' } } },
    { requestId: 's', answer: { ...answer, headers: { 'x-request-id': 'r' } } },
    { answer: { ...answer, headers: { 'x-request-id': 'r' } } },
    { statusCode: 503, answer: { ...answer, model_group: 'other', retries: 2, fallbacks: 1, headers: { 'x-a': '1' } } },
    { usage: { ...usage, total_tokens: 9, cached_input_tokens: 1 }, requestId: 'r', pieces: 0, warnings: ['w'], cost: 0 },
  ] // oxfmt-ignore
  for (const end of ends) expect(parseEnd(formatEnd(end, 'gpt-4o'), 'gpt-4o')).toEqual(end)
  expect(formatEnd({ statusCode: 200, usage, answer }, 'gpt-4o').length).toBeLessThan(50)
})

test('times of an ended job count from its creation, and what never came has none', () => {
  const none = { starts: null, started: null, cancelling: null }
  expect(parseTimes('1000 5 60 -')).toEqual({ ...none, created: 1000, ended: 1005, deadline: 1060 })
  const all = { created: 1000, ended: 1009, deadline: 1060, started: 1003, cancelling: 1008, starts: 1002 }
  expect(parseTimes('1000 9 60 3 8 2')).toEqual(all)
})

test('a field that a form does not know yet is not lost', () => {
  const form: RowForm<'a' | 'b'> = { names: ['a', 'b'], optional: new Set(['b']) }
  for (const object of [{ a: 1, new: [2] }, { a: null, b: null, new: null }, { a: null }, { a: 1, b: 2 }]) {
    expect(fromRow(form, JSON.parse(JSON.stringify(toRow(form, object))))).toEqual(object)
  }
})

// New names stand at the end of these lists; what is changed before that reads stored rows, and keys, wrongly.
const BUNDLE_NAMES = [
  'provider', 'model', 'api_base', 'api_key', 'headers', 'params', 'trusted_base', 'api_version', 'organization',
  'azure_ad_token', 'auth', 'overrides', 'drop', 'is_operators', 'mock_timeout', 'mock_delay_s', 'mock_response',
] // oxfmt-ignore
const DEPLOYMENT_NAMES = [
  'id', 'key_id', 'group', 'provider', 'model', 'name', 'timeout_s', 'rpm', 'tpm', 'max_input_tokens', 'prices', 'weight',
  'num_retries', 'cooldown_time_s', 'allowed_fails', 'operator_id', 'owner_id', 'itpm', 'otpm', 'max_parallel', 'order',
  'stream_timeout_s', 'allowed_fails_policy',
] // oxfmt-ignore
const PLAN_NAMES = [
  'source', 'owner_id', 'group', 'deployments', 'fallbacks', 'max_fallbacks', 'num_retries', 'retry_after_s', 'timeout_s',
  'cooldown_time_s', 'max_attempts', 'disable_cooldowns', 'allowed_fails', 'request_num_retries', 'strategies',
  'context_window_fallbacks', 'content_policy_fallbacks', 'rewriting_groups', 'group_names', 'retry_policies',
  'stream_timeout_s', 'is_timeout_clients', 'allowed_fails_policy', 'checks_context', 'drop', 'first_failure', 'priority',
  'durability',
] // oxfmt-ignore
const rowOf = (values: readonly unknown[]) => [0, ...values]

test('each value of a stored plan, and of its credentials, is read as what it was when it was written', () => {
  expect(parseBundles([rowOf(BUNDLE_NAMES)])).toEqual([
    Object.fromEntries(BUNDLE_NAMES.map((name) => [name, name])),
  ])
  const deployment = Object.fromEntries(DEPLOYMENT_NAMES.map((name) => [name, name]))
  const values = PLAN_NAMES.map((name) => (name === 'deployments' ? [rowOf(DEPLOYMENT_NAMES)] : name))
  const plan = Object.fromEntries(PLAN_NAMES.map((name) => [name, name]))
  expect(parsePlan(JSON.stringify(rowOf(values)), beside)).toEqual({ ...plan, deployments: [deployment] })
})

test('credentials and plans of a later version, or no rows at all, are refused and not read in part', () => {
  const [bundle, plan] = [rowOf(BUNDLE_NAMES), rowOf(PLAN_NAMES.map(() => []))]
  expect(() => parseBundles([[...bundle, 'new']])).toThrow(/can't be read/)
  expect(() => parsePlan(JSON.stringify([...plan, 'new']), beside)).toThrow(/can't be read/)
  for (const damaged of [null, 'text', [], ['openai'], [1, 'openai'], [[], 'openai']]) {
    expect(() => parseBundles([damaged])).toThrow(/can't be read/)
  }
})

test('what an earlier version wrote in full is still read', () => {
  const attempt = { ...fc.sample(attempts, 1)[0], started_at: 1_000, ended_at: 2_000 }
  const [plan] = fc.sample(anyOf(Plan, { deployments: fc.array(deployments, { minLength: 1 }) }), 1)
  const [bundle] = fc.sample(anyOf(CredentialBundle), 1)
  expect(parseLog(JSON.stringify(attempt), 'gpt-4o')).toEqual([attempt])
  expect(parsePlan(JSON.stringify(plan), beside)).toEqual(plan)
  expect(parseBundles([bundle])).toEqual([bundle])
  expect(parseMeta(JSON.stringify(usual))).toEqual(usual)
})

test('rows take half of what objects take', () => {
  const usualAttempt: Attempt = {
    number: 1, deployment: 'azure/gpt-4o', model_group: 'gpt-4o', provider: 'azure', started_at: 1_795_667_275_189,
    ended_at: 1_795_667_275_232, outcome: 'completed', status_code: 200, error_class: null, retry_after: null,
    possibly_billed: false, input_tokens: 256, output_tokens: 64, cost: null,
  } // oxfmt-ignore
  expect(formatLog([usualAttempt], 'gpt-4o').length).toBeLessThan(JSON.stringify(usualAttempt).length / 2)
  expect(formatMeta(usual).length).toBeLessThan(JSON.stringify(usual).length * 0.2)
})

const usual = {
  endpoint: '/v1/chat/completions',
  model: 'gpt-4o',
  mode: 'async' as const,
  customer: null,
  metadata: {},
  priority: 'normal' as const,
  onCrash: 'retry' as const,
  warnings: [],
  attemptsMax: 12,
  resultTtlMs: 86_400_000,
}
const unusual = {
  ...usual,
  customer: 'c1',
  metadata: { a: 'b' },
  priority: 'high' as const,
  onCrash: 'fail' as const,
  warnings: ['w'],
  key: 'key_1',
  endpoints: [],
  retryOf: 'job_1',
  durability: 'fsync' as const,
  erased: ['api_key'],
}
