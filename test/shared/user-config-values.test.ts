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

describe('paths of files on the server', () => {
  test.each([
    '/etc/key.json',
    './key',
    '../key',
    '~/key',
    'file:///etc/key',
    'C:\\key',
    'credentials.json',
    'key.pem',
  ])('a credential given as the file path %s, also where nobody is called', (value) => {
    for (const field of ['vertex_credentials', 'vertex_ai_credentials', 'oci_key']) {
      const config = configWith({ [field]: value, mock_response: 'x' })
      const error = refusalFor({ model: 'mine', user_config: config })
      expect([error.param, error.message]).toEqual([`${params}.${field}`, expect.stringContaining('file')])
      expect(refusalFor({ model: 'gpt-4o', api_key: 'k', [field]: value }).param).toBe(field)
    }
  })

  test.each(['/wEXaGVsbG8gd29ybGQ==', '~..', '....key', '//8=', 'abc.pem', 'C:\\x'])(
    'but not an ordinary key that looks like one: %s',
    (value) => {
      for (const given of [
        { api_key: value, organization: value },
        { model: 'azure/x', api_base: 'https://me.example', api_key: null, azure_ad_token: value },
      ]) {
        expect(planOf({ model: 'mine', user_config: configWith(given) }).plan.deployments).toHaveLength(1)
      }
    },
  )
})
