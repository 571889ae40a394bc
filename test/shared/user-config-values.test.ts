import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../shared/errors.ts'
import { configWith, operatorOf, planOf, refusalFor } from './plan-support.ts'

const path = 'user_config'
const params = `${path}.model_list[0].litellm_params`

describe('defaults of all deployments', () => {
  const wrong = [-5, 0, '0', 'abc', [], {}, true]
  test.each(wrong)('a timeout of %j is refused, as it is in one deployment', (value) => {
    for (const field of ['timeout', 'request_timeout']) {
      const router = { default_litellm_params: { [field]: value } }
      const error = refusalFor({ model: 'mine', user_config: configWith({}, router) })
      expect(error.param).toBe(`${path}.default_litellm_params.${field}`)
      expect(refusalFor({ model: 'mine', user_config: configWith({ [field]: value }) }).param).toBe(
        `${params}.${field}`,
      )
      expect(() => operatorOf({ router_settings: router })).toThrow(ConfigError)
    }
  })

  test('max_retries has no effect and says so, at both places', () => {
    const config = configWith({ max_retries: 2 }, { default_litellm_params: { max_retries: 2 } })
    const { warnings } = planOf({ model: 'mine', user_config: config })
    expect(warnings).toEqual([
      expect.stringContaining('`user_config.default_litellm_params.max_retries` has no effect'),
      expect.stringContaining(`\`${params}.max_retries\` has no effect`),
    ])
    const none = configWith({ max_retries: 0 }, { default_litellm_params: { max_retries: 0 } })
    expect(planOf({ model: 'mine', user_config: none }).warnings).toEqual([])
  })
})
