import { expect, test } from 'vitest'
import type { Strategy } from '../../shared/schemas/plan.ts'
import { orderByStrategy, rankingOf, shuffleByWeight, strategyOf } from '../../shared/routing/strategies.ts'
import { testDeployment, testPlan } from '../support/store.ts'

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

test('cost: the cheapest first, unknown prices last, equals in random order', () => {
  const members = [
    testDeployment('unknown'),
    testDeployment('dear', { prices: { input: 2e-6, output: 8e-6 } }),
    testDeployment('cheap-a', { prices: { input: 1e-6, output: 1e-6 } }),
    testDeployment('cheap-b', { prices: { output: 2e-6 } }),
  ]
  const orders = Array.from({ length: 50 }, () =>
    orderByStrategy({ name: 'cost' }, members, Math.random).map(({ id }) => id),
  )
  for (const order of orders) expect(order.slice(2)).toEqual(['dear', 'unknown'])
  expect(new Set(orders.map(([first]) => first))).toEqual(new Set(['cheap-a', 'cheap-b']))
})

test('what goes by state is left to Redis: an even order, and what to rank by', () => {
  const members = [testDeployment('a', { weight: 100 }), testDeployment('b')]
  const strategies: [Strategy, object][] = [
    [{ name: 'least_busy' }, { by: 'busy', buffer: 0 }],
    [{ name: 'usage' }, { by: 'tokens', buffer: 0 }],
    [
      { name: 'latency', ttl_s: 60, buffer: 0.5 },
      { by: 'latency', buffer: 0.5, ttlMs: 60_000 },
    ],
  ]
  for (const [strategy, ranking] of strategies) {
    const firsts = Array.from({ length: 200 }, () => orderByStrategy(strategy, members, Math.random)[0]?.id)
    expect(firsts).toContain('b')
    expect(rankingOf(strategy)).toMatchObject(ranking)
  }
  expect(rankingOf({ name: 'cost' })).toBeNull()
  expect(rankingOf(null)).toBeNull()
})

test('a group has its own strategy, else that of all others, whatever it is called', () => {
  const plan = testPlan([testDeployment('a')], {
    strategies: { fast: { name: 'latency' }, '*': { name: 'least_busy' } },
  })
  expect(strategyOf(plan, 'fast')?.name).toBe('latency')
  expect(strategyOf(plan, 'constructor')?.name).toBe('least_busy')
  expect(strategyOf(testPlan([testDeployment('a')]), 'fast')).toBeNull()
})
