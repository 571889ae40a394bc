import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Progress } from '../../shared/jobs/claims.ts'
import type { Plan } from '../../shared/schemas/plan.ts'
import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { ProviderError } from '../../worker/providers/provider.ts'
import {
  countsAsAttempt,
  isClientsMistake,
  judge,
  nextGroup,
  orderCandidates,
  isFilteredFailure,
  startProgress,
} from '../../shared/routing/router.ts'
import { testDeployment, testPlan } from '../support/store.ts'

function providerError(errorClass: ErrorClass, change: Partial<ProviderError> = {}): ProviderError {
  return {
    class: errorClass,
    status: 500,
    message: 'no',
    type: 'server_error',
    param: null,
    code: null,
    isRetryable: true,
    retryAfterMs: null,
    isPossiblyBilled: false,
    headers: {},
    ...change,
  }
}

test('the pick holds every member of the group that is not dead, each once, failed ones last', () => {
  const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(ids, fc.nat(), fc.nat(), (names, failedBits, deadBits) => {
      const members = names.map((name, at) =>
        testDeployment(name, { weight: at % 3, group: at % 4 === 3 ? 'other' : 'main' }),
      )
      const plan = testPlan(members, { group: 'main' })
      const failed = names.filter((_, at) => (failedBits >> at) & 1)
      const dead = names.filter((_, at) => (deadBits >> at) & 1)
      const picked = orderCandidates(plan, { ...startProgress(plan), failed, dead }, Math.random).map(
        ({ deployment }) => deployment.id,
      )
      const expected = members
        .filter(({ id, group }) => group === 'main' && !dead.includes(id))
        .map(({ id }) => id)
      expect(picked.toSorted()).toEqual(expected.toSorted())
      const firstFailed = picked.findIndex((id) => failed.includes(id))
      const lastFresh = picked.findLastIndex((id) => !failed.includes(id))
      expect(firstFailed === -1 || lastFresh < firstFailed).toBe(true)
    }),
  )
})

test('the deployment that keeps a place for the job comes first', () => {
  const plan = testPlan([testDeployment('a', { weight: 100 }), testDeployment('b', { weight: 1 })])
  expect(
    orderCandidates(plan, { ...startProgress(plan), slot: { id: 'b', at: 0 } }, Math.random)[0]?.deployment
      .id,
  ).toBe('b')
})

test('fallbacks of fallbacks are walked depth first, no group twice, at most max_fallbacks hops, whatever the graph', () => {
  const groups = ['a', 'b', 'c', 'd', 'e', '*']
  const graph = fc.dictionary(
    fc.constantFrom(...groups),
    fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 6 }),
  )
  fc.assert(
    fc.property(graph, fc.nat(6), (fallbacks, max) => {
      const plan = testPlan([testDeployment('x', { group: 'a' })], { fallbacks, max_fallbacks: max })
      const walked: string[] = []
      for (let at: Progress | null = startProgress(plan); at; at = nextGroup(plan, at, 'failure'))
        walked.push(at.group)
      expect(new Set(walked).size).toBe(walked.length)
      expect(walked.length).toBeLessThanOrEqual(max + 1)
    }),
  )
})

test('a group of its own fallbacks wins over the wildcard, and a nested fallback comes before the rest of the list', () => {
  const fallbacks = { a: ['b', 'c'], b: ['d'], '*': ['z'] }
  const plan = testPlan([testDeployment('x', { group: 'a' })], { fallbacks })
  const walked: string[] = []
  for (let at: Progress | null = startProgress(plan); at; at = nextGroup(plan, at, 'failure'))
    walked.push(at.group)
  expect(walked).toEqual(['a', 'b', 'd', 'z', 'c'])
})

const one = testDeployment('one')
const two = [one, testDeployment('two')]
function verdictOf(error: ProviderError, plan: Plan = testPlan(two), progress: Partial<Progress> = {}) {
  const [deployment] = plan.deployments
  if (!deployment) throw new Error('no deployment')
  return judge(plan, { ...startProgress(plan), ...progress }, deployment, error)
}

test('a dead key is left without using a retry, for this job for good', () => {
  for (const name of ['authentication', 'payment_required', 'permission_denied'] as const) {
    const { verdict, progress } = verdictOf(providerError(name, { isRetryable: false }))
    expect(verdict.kind).toBe('move_on')
    expect(progress).toMatchObject({ dead: ['one'], retries: 0 })
    expect(countsAsAttempt(providerError(name))).toBe(false)
  }
})

test('a 429 uses neither a retry nor an attempt', () => {
  const { verdict, progress } = verdictOf(providerError('rate_limit', { status: 429 }))
  expect([verdict.kind, progress.retries, progress.dead]).toEqual(['move_on', 0, []])
  expect(countsAsAttempt(providerError('rate_limit'))).toBe(false)
})

test('retries: the request wins over the deployment over the config, and 0 is 0', () => {
  const error = providerError('internal_server')
  const own = [testDeployment('one', { num_retries: 1 })]
  expect(verdictOf(error, testPlan(two, { num_retries: 0 })).verdict.kind).toBe('fall_back')
  expect(verdictOf(error, testPlan(own, { num_retries: 0 })).verdict.kind).toBe('retry')
  expect(verdictOf(error, testPlan(own, { num_retries: 5, request_num_retries: 0 })).verdict.kind).toBe(
    'fall_back',
  )
  expect(verdictOf(error, testPlan(two, { num_retries: 2 }), { retries: 2 }).verdict.kind).toBe('fall_back')
})

function reasonOf(name: ErrorClass, change = {}) {
  const { verdict } = verdictOf(providerError(name, { isRetryable: false, ...change }))
  return verdict.kind === 'fall_back' ? verdict.reason : verdict.kind
}

test('a request that is wrong goes to no other group but one with a prompt of its own; what another model may take falls back; neither is retried', () => {
  expect(reasonOf('bad_request')).toBe('wrong_request')
  expect(reasonOf('unprocessable_entity')).toBe('wrong_request')
  expect(reasonOf('context_window_exceeded')).toBe('failure')
  expect(reasonOf('not_found')).toBe('failure')
  expect(reasonOf('api_error', { status: 301 })).toBe('failure')
  const plan = testPlan([one, testDeployment('x', { group: 'b' }), testDeployment('y', { group: 'own' })], {
    fallbacks: { main: ['b', 'own'] },
    rewriting_groups: ['own'],
  })
  expect(nextGroup(plan, startProgress(plan), 'wrong_request')).toMatchObject({
    group: 'own',
    pending: ['b'],
  })
})

test('a retry policy wins over every num_retries, for its class alone, and a group’s own replaces the router’s', () => {
  const policies = { '*': { timeout: 3, authentication: 1, default: 1 }, other: { rate_limit: 0 } }
  const plan = testPlan(two, { request_num_retries: 0, num_retries: 0, retry_policies: policies })
  expect(verdictOf(providerError('timeout'), plan, { retries: 2 }).verdict.kind).toBe('retry')
  expect(verdictOf(providerError('timeout'), plan, { retries: 3 }).verdict.kind).toBe('fall_back')
  expect(verdictOf(providerError('internal_server'), plan).verdict.kind).toBe('fall_back')
  const withDefault = testPlan(two, { num_retries: 0, retry_policies: policies })
  expect(verdictOf(providerError('internal_server'), withDefault).verdict.kind).toBe('retry')
  expect(verdictOf(providerError('bad_request', { isRetryable: false }), withDefault).verdict.kind).toBe(
    'fall_back',
  )
  // A class that has an entry is tried again also where it never is otherwise.
  const { verdict, progress } = verdictOf(providerError('authentication', { isRetryable: false }), plan)
  expect([verdict.kind, progress.dead]).toEqual(['retry', []])
  const other = testPlan([testDeployment('one', { group: 'other' })], { retry_policies: policies })
  expect(verdictOf(providerError('rate_limit'), other).verdict.kind).toBe('fall_back')
  expect(verdictOf(providerError('timeout'), other, { retries: 2 }).verdict.kind).toBe('fall_back')
})

test('a prompt that is too long uses the context window fallbacks alone, once there are any', () => {
  const fallbacks = { main: ['generic'] }
  const error = providerError('context_window_exceeded', { isRetryable: false })
  const rows: [Record<string, string[]> | null, string | undefined][] = [
    [{ main: ['large'] }, 'large'],
    [{}, undefined],
    [null, 'generic'],
  ]
  for (const [table, next] of rows) {
    const plan = testPlan(two, { fallbacks, ...(table ? { context_window_fallbacks: table } : {}) })
    const { verdict, progress } = verdictOf(error, plan)
    if (verdict.kind !== 'fall_back') throw new Error(verdict.kind)
    expect(nextGroup(plan, progress, verdict.reason)?.group).toBe(next)
  }
})

test('refused content likewise, and a filtered answer counts as refused only where a fallback is made for it', () => {
  const plan = testPlan(two, {
    fallbacks: { '*': ['generic'] },
    content_policy_fallbacks: { main: ['lenient'] },
  })
  const error = providerError('content_policy_violation', { isRetryable: false })
  const { verdict, progress } = verdictOf(error, plan)
  expect(verdict).toEqual({ kind: 'fall_back', reason: 'content' })
  expect(nextGroup(plan, progress, 'content')?.group).toBe('lenient')
  expect(isFilteredFailure(plan, 'main')).toBe(true)
  expect(isFilteredFailure(plan, 'other')).toBe(false)
  expect(isFilteredFailure(testPlan(two, { fallbacks: { '*': ['generic'] } }), 'main')).toBe(true)
  expect(isFilteredFailure(testPlan(two, { fallbacks: { main: ['generic'] } }), 'main')).toBe(false)
})

test('a hop that can not hold the prompt is skipped and does not count as a hop', () => {
  const plan = testPlan(two, { fallbacks: { main: ['small', 'large'] }, max_fallbacks: 1 })
  const next = nextGroup(plan, startProgress(plan), 'failure', (group) => group !== 'small')
  expect(next).toMatchObject({ group: 'large', hops: 1, visited: ['main', 'large'] })
})

test('levels of `order` come one after the other, those without any last, those that failed behind all', () => {
  const members = [
    testDeployment('none'),
    testDeployment('second', { order: 7 }),
    testDeployment('first', { order: 1 }),
    testDeployment('failed', { order: 1 }),
  ]
  const plan = testPlan(members)
  const ordered = orderCandidates(plan, { ...startProgress(plan), failed: ['failed'] }, Math.random)
  expect(ordered.map(({ deployment }) => deployment.id)).toEqual(['first', 'second', 'none', 'failed'])
  expect(new Set(ordered.map(({ tier }) => tier)).size).toBe(4)
})

test('what a client caused does not cool a deployment; what the provider or its key caused does', () => {
  for (const status of [400, 403, 413, 422])
    expect(isClientsMistake(testPlan(two), one, providerError('bad_request', { status }))).toBe(true)
  for (const status of [401, 404, 408, 429, 500, 503, null]) {
    expect(isClientsMistake(testPlan(two), one, providerError('api_error', { status }))).toBe(false)
  }
  expect(isClientsMistake(testPlan(two), one, providerError('egress_refused', { status: null }))).toBe(true)
})

test('a timeout that a client set on the operator’s deployments is its own mistake', () => {
  const timeout = providerError('timeout', { status: null })
  expect(isClientsMistake(testPlan(two), one, timeout)).toBe(false)
  expect(isClientsMistake(testPlan(two, { is_timeout_clients: true }), one, timeout)).toBe(true)
})

test('what a provider refuses of a client’s own organization does not cool the operator’s deployment', () => {
  const plan = testPlan(two, { source: 'client_credentials', owner_id: 'operator' })
  for (const status of [401, 404])
    expect(isClientsMistake(plan, one, providerError('api_error', { status }))).toBe(true)
  expect(isClientsMistake(plan, one, providerError('rate_limit', { status: 429 }))).toBe(false)
})

test('groups may be called like members of every object', () => {
  for (const group of ['constructor', '__proto__', 'toString', 'valueOf']) {
    const plan = testPlan([testDeployment('x', { group })], { group })
    expect(nextGroup(plan, startProgress(plan), 'failure')).toBeNull()
  }
})
