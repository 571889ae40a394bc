import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'
import { startProcess } from '../support/processes.ts'
import { completion, failure, startProvider } from '../support/provider.ts'
import { missingPythonSdk, PYTHON } from '../support/python.ts'
import { environment } from '../support/redis-process.ts'

const SCRIPT = fileURLToPath(new URL('../support/seed.py', import.meta.url))
const reason = missingPythonSdk()
if (reason) console.log(`skipped: the Python SDK is not tested, since ${reason}`)

test.skipIf(reason)(
  'the Python snippets of the seed work with the official Python SDK, unmodified',
  async () => {
    const provider = await startProvider()
    // The azure deployment is down, so that the fallback has to answer.
    provider.answer(({ key }) =>
      key === 'user-azure-key' ? failure(500, 'down') : completion('a short poem'),
    )
    const gateway = await startGateway({
      env: { OPERATOR_KEY: 'operator-key' },
      config: `
model_list:
  - model_name: "house"
    litellm_params: { model: "openai/gpt-3.5-turbo", api_key: os.environ/OPERATOR_KEY, api_base: "${provider.url}/v1" }
`,
    })
    try {
      const userConfig = {
        model_list: [
          deployment('user-azure-instance', {
            model: 'azure/chatgpt-v-2',
            api_key: 'user-azure-key',
            api_version: '2024-10-21',
            api_base: provider.url,
          }),
          deployment('user-openai-instance', {
            model: 'gpt-3.5-turbo',
            api_key: 'user-openai-key',
            api_base: `${provider.url}/v1`,
          }),
        ],
        num_retries: 1,
        allowed_fails: 3,
        fallbacks: [{ 'user-azure-instance': ['user-openai-instance'] }],
      }
      const run = startProcess(PYTHON, [SCRIPT], {
        env: {
          ...environment(),
          GATEWAY_KEY: gateway.masterKey,
          GATEWAY_URL: gateway.url,
          USER_CONFIG: JSON.stringify(userConfig),
          PROVIDER_BASE: provider.url,
        },
      })
      expect(await run.ended(), run.output()).toBe(0)
      const lines = run.output().trim().split('\n')
      const results = lines.map((line) => JSON.parse(line)).filter(({ name }) => name !== undefined)
      expect(results).toEqual([
        { name: 'user_config', text: 'a short poem' },
        { name: 'api_key_and_base', text: 'a short poem' },
        { name: 'azure_triple', text: 'a short poem' },
        { name: 'provider_specific', text: 'a short poem' },
        { name: 'refused', error: 'BadRequestError', status: 400, param: 'api_key' },
      ])
      expect(provider.ledger.map(({ key }) => key)).toEqual([
        'user-azure-key',
        'user-azure-key',
        'user-openai-key',
        'my-bad-key',
        'my-azure-key',
        'operator-key',
      ])
      expect(provider.ledger.at(-1)?.body).toMatchObject({ vertex_ai_location: 'us-east1' })
    } finally {
      await gateway.stop()
      await provider.close()
    }
  },
)

function deployment(name: string, params: object) {
  return { model_name: name, litellm_params: params }
}
