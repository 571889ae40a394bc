import { expect, test } from 'vitest'
import { timeoutMsOf } from '../../worker/timeouts.ts'
import { testDeployment, testPlan } from '../support/store.ts'

test.for([
  ['of the config', { timeout_s: 30 }, {}, 30, 30],
  ['of the deployment before the config’s', { timeout_s: 30 }, { timeout_s: 7 }, 7, 7],
  ['longer than the config’s', { timeout_s: 5 }, { timeout_s: 70 }, 70, 70],
  ['of streams, from the config', { timeout_s: 30, stream_timeout_s: 3 }, {}, 30, 3],
  [
    'of streams, before the deployment’s plain one',
    { timeout_s: 30, stream_timeout_s: 3 },
    { timeout_s: 7 },
    7,
    3,
  ],
  [
    'of the deployment’s streams',
    { timeout_s: 30, stream_timeout_s: 3 },
    { timeout_s: 7, stream_timeout_s: 2 },
    7,
    2,
  ],
  ['a part of a second', { timeout_s: 0.25 }, {}, 0.25, 0.25],
  ['next to nothing, which is never no timer at all', { timeout_s: 1e-9 }, {}, 0.001, 0.001],
] as const)('one call may take the timeout %s', ([, router, own, plainS, streamS]) => {
  const deployment = testDeployment('one', own)
  const plan = testPlan([deployment], router)
  expect(timeoutMsOf(plan, deployment, false)).toBe(plainS * 1_000)
  expect(timeoutMsOf(plan, deployment, true)).toBe(streamS * 1_000)
})
