import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Progress } from '../../shared/claims.ts'
import type { Plan } from '../../shared/schemas/plan.ts'
import type { ErrorClass } from '../../shared/schemas/error-class.ts'
import type { ProviderError } from '../../worker/providers/provider.ts'
import {
  countsAsAttempt,
  isClientsMistake,
  judge,
  nextGroup,
  orderCandidates,
  shuffleByWeight,
  startProgress,
} from '../../worker/router.ts'
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
    ...change,
  }
}

function shares(weights: { weight?: number; rpm?: number; tpm?: number }[], rounds = 4000): number[] {
  const members = weights.map((figures, at) => testDeployment(`d${at}`, figures))
  const firsts = Array.from({ length: rounds }, () => shuffleByWeight(members, Math.random)[0]?.id)
  return members.map(({ id }) => firsts.filter((first) => first === id).length / rounds)
}

test('simple shuffle goes by weight, looking at all members: one without weight is never first', () => {
  const [none = 1, three = 0, one = 0] = shares([{}, { weight: 3 }, { weight: 1 }])
  expect(none).toBe(0)
  expect(three).toBeCloseTo(0.75, 1)
  expect(one).toBeCloseTo(0.25, 1)
})

test('without weights it goes by rpm, then by tpm, then evenly', () => {
  expect(
    shares([
      { rpm: 9, tpm: 1 },
      { rpm: 1, tpm: 9 },
    ])[0],
  ).toBeCloseTo(0.9, 1)
  expect(shares([{ tpm: 1 }, { tpm: 9 }])[1]).toBeCloseTo(0.9, 1)
  expect(shares([{}, {}])[0]).toBeCloseTo(0.5, 1)
})

test('all weights zero is no failure: every member is still tried', () => {
  const members = [testDeployment('a', { weight: 0 }), testDeployment('b', { weight: 0 })]
  expect(shuffleByWeight(members, Math.random)).toHaveLength(2)
})

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
        ({ id }) => id,
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
    orderCandidates(plan, { ...startProgress(plan), slot: { id: 'b', at: 0 } }, Math.random)[0]?.id,
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
      for (let at: Progress | null = startProgress(plan); at; at = nextGroup(plan, at)) walked.push(at.group)
      expect(new Set(walked).size).toBe(walked.length)
      expect(walked.length).toBeLessThanOrEqual(max + 1)
    }),
  )
})

test('a group of its own fallbacks wins over the wildcard, and a nested fallback comes before the rest of the list', () => {
  const fallbacks = { a: ['b', 'c'], b: ['d'], '*': ['z'] }
  const plan = testPlan([testDeployment('x', { group: 'a' })], { fallbacks })
  const walked: string[] = []
  for (let at: Progress | null = startProgress(plan); at; at = nextGroup(plan, at)) walked.push(at.group)
  expect(walked).toEqual(['a', 'b', 'd', 'z', 'c'])
})

const two = [testDeployment('one'), testDeployment('two')]
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

test('a request that is wrong is given up; one that another model may take falls back; neither is retried', () => {
  expect(verdictOf(providerError('bad_request', { isRetryable: false })).verdict.kind).toBe('give_up')
  expect(verdictOf(providerError('unprocessable_entity', { isRetryable: false })).verdict.kind).toBe(
    'give_up',
  )
  expect(verdictOf(providerError('context_window_exceeded', { isRetryable: false })).verdict.kind).toBe(
    'fall_back',
  )
  expect(verdictOf(providerError('not_found', { isRetryable: false })).verdict.kind).toBe('fall_back')
  expect(verdictOf(providerError('api_error', { status: 301, isRetryable: false })).verdict.kind).toBe(
    'fall_back',
  )
})

test('what a client caused does not cool a deployment; what the provider or its key caused does', () => {
  for (const status of [400, 403, 413, 422])
    expect(isClientsMistake(testPlan(two), providerError('bad_request', { status }))).toBe(true)
  for (const status of [401, 404, 408, 429, 500, 503, null]) {
    expect(isClientsMistake(testPlan(two), providerError('api_error', { status }))).toBe(false)
  }
  expect(isClientsMistake(testPlan(two), providerError('egress_refused', { status: null }))).toBe(true)
})

test('a timeout that a client set on the operator’s deployments is its own mistake', () => {
  const timeout = providerError('timeout', { status: null })
  expect(isClientsMistake(testPlan(two), timeout)).toBe(false)
  expect(isClientsMistake(testPlan(two, { is_timeout_clients: true }), timeout)).toBe(true)
})

test('what a provider refuses of a client’s own organization does not cool the operator’s deployment', () => {
  const plan = testPlan(two, { source: 'client_credentials', owner_id: 'operator' })
  for (const status of [401, 404])
    expect(isClientsMistake(plan, providerError('api_error', { status }))).toBe(true)
  expect(isClientsMistake(plan, providerError('rate_limit', { status: 429 }))).toBe(false)
})

test('groups may be called like members of every object', () => {
  for (const group of ['constructor', '__proto__', 'toString', 'valueOf']) {
    const plan = testPlan([testDeployment('x', { group })], { group })
    expect(nextGroup(plan, startProgress(plan))).toBeNull()
  }
})
