import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hopsOf } from '../../shared/hop-order.ts'
import { nextGroup, startProgress } from '../../worker/router.ts'
import { testDeployment, testPlan } from '../support/store.ts'

const GROUPS = ['a', 'b', 'c', 'd', 'e', 'constructor']
const group = fc.constantFrom(...GROUPS)
const table = fc.dictionary(fc.constantFrom(...GROUPS, '*'), fc.uniqueArray(group), { noNullPrototype: true })

test('hops are shown in the order in which a worker takes them, whatever the tables, caps and windows', () => {
  const plans = fc.record({
    fallbacks: table,
    context: fc.option(table, { nil: undefined }),
    content: fc.option(table, { nil: undefined }),
    hopsMax: fc.integer({ min: 0, max: 10 }),
    tooSmall: fc.subarray(GROUPS),
    reason: fc.constantFrom('failure' as const, 'context' as const, 'content' as const),
  })
  let hopsSeen = 0
  fc.assert(
    fc.property(plans, ({ fallbacks, context, content, hopsMax, tooSmall, reason }) => {
      const deployments = GROUPS.map((name) => testDeployment(name, { group: name }))
      const plan = testPlan(deployments, {
        fallbacks,
        context_window_fallbacks: context,
        content_policy_fallbacks: content,
        max_fallbacks: hopsMax,
      })
      const fits = (name: string) => !tooSmall.includes(name)
      const taken: string[] = []
      let progress = nextGroup(plan, startProgress(plan), reason, fits)
      while (progress !== null) {
        taken.push(progress.group)
        progress = nextGroup(plan, progress, reason, fits)
      }
      hopsSeen += taken.length
      expect(hopsOf(plan, reason, fits)).toEqual(taken)
    }),
    { numRuns: 500 },
  )
  expect(hopsSeen).toBeGreaterThan(100)
})
