import { expect, test } from 'vitest'
import type { Standing } from '../../shared/routing/deployment-state.ts'
import { describePlan, readStandings, type Shown } from '../../shared/plans/plan-view.ts'
import type { Plan } from '../../shared/schemas/plan.ts'
import { testBundle, testDeployment, testPlan } from '../support/store.ts'

function shownOf(plan: Plan, change: Partial<Shown> = {}): Shown {
  return {
    model: 'main',
    plan,
    bundles: plan.deployments.map(({ model }) => testBundle(model, 'sk-canary')),
    body: { model: 'main', messages: [{ role: 'user', content: 'x'.repeat(4000) }] },
    isStream: false,
    expiresInMs: 60_000,
    warnings: [],
    ignored: [],
    isOnOperatorsList: false,
    ...change,
  }
}

function view(plan: Plan, change: Partial<Shown> = {}, standings: Standing[] = []) {
  return describePlan(shownOf(plan, change), new Map(standings.map((one) => [one.id, one])))
}

/** Of the first deployment of the first group, which is the client's. */
function firstOf(plan: Plan, change: Partial<Shown> = {}, standings: Standing[] = []) {
  const deployment = view(plan, change, standings).groups[0]?.deployments[0]
  if (deployment?.owner !== 'client') throw new Error("It is not the client's.")
  return deployment
}

function standing(id: string, change: Partial<Standing> = {}): Standing {
  const used = { requests: 3, tokens: 70, input_tokens: 50, output_tokens: 20 }
  const times = { coolingUntil: null, pausedUntil: null, restsUntil: null }
  return { id, ...times, used, inFlight: 2, secondsPerToken: null, ...change }
}

test('strategy and retries are those of the group, else of all others, also of a group called constructor', () => {
  const deployments = ['main', 'constructor'].map((group) => testDeployment(group, { group, num_retries: 5 }))
  const { groups } = view(
    testPlan(deployments, {
      strategies: { main: { name: 'cost' }, '*': { name: 'least_busy' } },
      retry_policies: { main: { timeout: 7, default: 1 }, '*': { rate_limit: 0 } },
    }),
  )
  expect(groups).toMatchObject([
    { strategy: 'cost-based-routing', retries: { num_retries: 1, policy: { timeout: 7 } } },
    { strategy: 'least-busy', retries: { num_retries: 2, policy: { rate_limit: 0 } } },
  ])
  expect(groups[0]?.retries.policy).not.toHaveProperty('default')
  expect(groups[0]?.deployments[0]).toMatchObject({ num_retries: 5 })
  const asked = view(testPlan(deployments, { request_num_retries: 0 })).groups[0]
  expect(asked).toMatchObject({ retries: { num_retries: 0 }, deployments: [{ num_retries: 0 }] })
})

test("a deployment's own limits on failures are laid over those of the config, class by class", () => {
  const policy = { timeout: 1, rate_limit: 2 }
  const plan = testPlan([testDeployment('one', { allowed_fails_policy: { timeout: 9 } })], {
    allowed_fails: 4,
    allowed_fails_policy: policy,
    disable_cooldowns: true,
  })
  expect(firstOf(plan).cooldown).toEqual({
    disabled: true,
    allowed_fails: 4,
    policy: { timeout: 9, rate_limit: 2 },
    cooldown_time_s: 5,
  })
})

test('a streamed request goes by the timeouts of streams', () => {
  const plan = testPlan([testDeployment('one', { timeout_s: 20 })], { timeout_s: 30, stream_timeout_s: 10 })
  expect([firstOf(plan).timeout_s, view(plan).caps.timeout_s]).toEqual([20, 30])
  const stream = { isStream: true }
  expect([firstOf(plan, stream).timeout_s, view(plan, stream).caps.timeout_s]).toEqual([10, 10])
})

test('a fallback that can not hold the prompt is not among the hops, unless it brings a prompt of its own', () => {
  const deployments = [
    testDeployment('main', { group: 'main', max_input_tokens: 500 }),
    testDeployment('small', { group: 'small', max_input_tokens: 500 }),
    testDeployment('large', { group: 'large', max_input_tokens: 5000 }),
    testDeployment('unknown', { group: 'unknown' }),
    testDeployment('own', { group: 'own', max_input_tokens: 500 }),
  ]
  const plan = testPlan(deployments, {
    fallbacks: { '*': ['small', 'large', 'unknown', 'own'] },
    rewriting_groups: ['own'],
  })
  const bundles = deployments.map(({ model }) => testBundle(model, 'k'))
  const overrides = { messages: [{ role: 'user', content: 'short' }] }
  bundles[4] = { ...testBundle('own', 'k'), overrides }
  const { groups, fallbacks } = view(plan, { bundles })
  expect(fallbacks.any_failure).toEqual(['large', 'unknown', 'own'])
  const fits = groups.flatMap((group) => group.deployments.map((one) => 'fits' in one && one.fits))
  expect(fits).toEqual([false, false, true, null, true])
})

test('groups with made-up names are shown by their label, and can be told apart', () => {
  const deployments = ['main', '~0', '~1'].map((group) => testDeployment(group, { group }))
  const plan = testPlan(deployments, {
    fallbacks: { main: ['~1', '~0'] },
    group_names: { '~0': 'other', '~1': 'other' },
  })
  const { groups, fallbacks } = view(plan)
  expect(groups.map(({ name }) => name)).toEqual(['main', 'other', 'other#2'])
  expect(fallbacks.any_failure).toEqual(['other#2', 'other'])
})

test('the state is in whole seconds, rounded up, with what is used of the limits', () => {
  const now = standing('one', { coolingUntil: 1_700_000_000_001, restsUntil: 1_700_000_005_000 })
  expect(firstOf(testPlan([testDeployment('one')]), {}, [now]).state).toEqual({
    cooling_until: 1_700_000_001,
    paused_until: null,
    rests_until: 1_700_000_005,
    used: { requests: 3, tokens: 70, input_tokens: 50, output_tokens: 20 },
    in_flight: 2,
  })
})

test("a deployment on the operator's key shows no figure, wherever it stands in a client's plan", () => {
  const plan = testPlan([
    testDeployment('own'),
    testDeployment('his', { operator_id: 'x', rpm: 77 }),
    testDeployment('hop', { group: 'hop', owner_id: 'operator', max_input_tokens: 77 }),
  ])
  const resting = [standing('his', { restsUntil: 99 }), standing('hop', { coolingUntil: 99 })]
  const deployments = view(plan, {}, resting).groups.flatMap((group) => group.deployments)
  expect(deployments.slice(1)).toEqual([
    { owner: 'operator', name: 'openai/his', provider: 'openai', available: true },
    { owner: 'operator', name: 'openai/hop', provider: 'openai', available: false },
  ])
})

test("each deployment's state is read from its own owner's", async () => {
  const plan = testPlan([
    testDeployment('a'),
    testDeployment('b', { owner_id: 'operator' }),
    testDeployment('c'),
  ])
  const asked: [string, string[]][] = []
  const standings = await readStandings(plan, async (ownerId, deployments) => {
    asked.push([ownerId, deployments.map(({ id }) => id)])
    return deployments.map(({ id }) => standing(id))
  })
  expect(asked).toEqual([
    ['owner', ['a', 'c']],
    ['operator', ['b']],
  ])
  expect([...standings.keys()]).toEqual(['a', 'c', 'b'])
})
