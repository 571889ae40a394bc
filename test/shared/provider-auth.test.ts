import { describe, expect, test } from 'vitest'
import { OPERATOR } from '../../shared/settings/deployments.ts'
import { deploymentIds } from '../../shared/settings/deployment-ids.ts'
import { deploymentFacts } from '../../shared/plans/plan-view.ts'
import { PROVIDER_SECRETS } from '../../shared/schemas/field-names.ts'
import { configWith, ids, operatorOf, planOf, refusalFor } from './plan-support.ts'

const KEY = '-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n'
const ACCOUNT = {
  type: 'service_account',
  project_id: 'acme-prod',
  private_key_id: 'a1b2c3',
  private_key: KEY,
  client_email: 'robot@acme-prod.iam.gserviceaccount.com',
  client_id: '1',
  token_uri: 'https://evil.example/token',
  auth_uri: 'https://evil.example/auth',
}
const AWS = { aws_access_key_id: 'AKIAEXAMPLE123', aws_secret_access_key: 'aws-secret-value' }
const AZURE = { tenant_id: 'contoso.onmicrosoft.com', client_id: 'app-id', client_secret: 'app-secret' }
const azureBase = 'https://me.openai.azure.com'

/** The bundle of a deployment with these parameters, given in a config. */
function bundleIn(params: Record<string, unknown>) {
  const { bundles } = planOf({ model: 'mine', user_config: configWith({ api_key: null, ...params }) })
  return bundles?.[0]
}
/** The same given beside `model`. */
const bundleBeside = (body: Record<string, unknown>) => planOf(body).bundles?.[0]
const inConfig = (params: Record<string, unknown>) =>
  refusalFor({ model: 'mine', user_config: configWith({ api_key: null, ...params }) })

describe("a provider's own credentials, in a config and beside the model", () => {
  const complete: [string, Record<string, unknown>, Record<string, unknown>][] = [
    [
      'azure by an app',
      { model: 'azure/gpt', api_base: azureBase, ...AZURE },
      { api_base: azureBase, api_key: null, auth: AZURE },
    ],
    [
      'azure by a token',
      { model: 'azure/gpt', api_base: azureBase, azure_ad_token: 'ad-token' },
      { azure_ad_token: 'ad-token' },
    ],
    [
      'vertex_ai',
      { model: 'vertex_ai/gemini-2.5-pro', vertex_credentials: ACCOUNT, vertex_location: 'us-east1' },
      {
        provider: 'vertex_ai',
        api_base: 'https://us-east1-aiplatform.googleapis.com',
        auth: { vertex_project: 'acme-prod', vertex_location: 'us-east1' },
      },
    ],
    [
      "vertex_ai by LiteLLM's other names",
      {
        model: 'vertex_ai/claude-sonnet-4',
        vertex_ai_credentials: JSON.stringify(ACCOUNT),
        vertex_ai_location: 'global',
        vertex_ai_project: 'other-project',
      },
      {
        api_base: 'https://aiplatform.googleapis.com',
        auth: { vertex_project: 'other-project', vertex_location: 'global' },
      },
    ],
    [
      'bedrock',
      {
        model: 'bedrock/converse/us.anthropic.claude-3-5-haiku-20241022-v1:0',
        ...AWS,
        aws_session_token: 'aws-session',
        aws_region_name: 'eu-west-1',
      },
      {
        model: 'us.anthropic.claude-3-5-haiku-20241022-v1:0',
        api_base: 'https://bedrock-runtime.eu-west-1.amazonaws.com',
        auth: { ...AWS, aws_session_token: 'aws-session', aws_region_name: 'eu-west-1' },
      },
    ],
    [
      'bedrock by a bearer, and its region by an ARN',
      {
        model: 'bedrock/arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.amazon.nova-lite-v1:0',
        api_key: 'bearer-key',
      },
      {
        model: 'arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.amazon.nova-lite-v1:0',
        api_base: 'https://bedrock-runtime.us-west-2.amazonaws.com',
        api_key: 'bearer-key',
      },
    ],
    [
      'cloudflare',
      { model: 'cloudflare/@cf/meta/llama-3', api_key: 'cf-key', account_id: '0a1b2c' },
      { api_base: 'https://api.cloudflare.com/client/v4/accounts/0a1b2c/ai/v1', model: '@cf/meta/llama-3' },
    ],
    [
      'snowflake',
      { model: 'snowflake/mistral-7b', api_key: 'pat/access-token', account_id: 'ORG-ACC_1' },
      { api_key: 'access-token', api_base: 'https://org-acc-1.snowflakecomputing.com/api/v2/cortex/v1' },
    ],
    [
      'databricks, its base completed',
      { model: 'databricks/dbrx', api_key: 'dapi', api_base: 'https://adb-1.azuredatabricks.net' },
      { api_base: 'https://adb-1.azuredatabricks.net/serving-endpoints' },
    ],
    [
      'ollama, which needs no key',
      { model: 'ollama/llama3', api_base: 'https://ollama.me.example' },
      { api_base: 'https://ollama.me.example/v1', api_key: null },
    ],
  ]
  test.each(complete)('%s', (_name, given, expected) => {
    for (const bundle of [bundleIn(given), bundleBeside(given)]) {
      expect(bundle).toMatchObject({ trusted_base: false, params: {}, ...expected })
    }
    const { body } = planOf(given)
    expect(Object.keys(body).toSorted()).toEqual(['messages', 'model'])
  })

  test('of a service account only what signs is kept, in one form for text and object', () => {
    const vertex = { model: 'vertex_ai/g', vertex_location: 'us-east1' }
    const quoted = { ...ACCOUNT, private_key: KEY.replaceAll('\n', String.raw`\n`) }
    const kept = [ACCOUNT, JSON.stringify(ACCOUNT, null, 2), quoted].map(
      (vertex_credentials) => bundleIn({ ...vertex, vertex_credentials })?.auth?.['vertex_credentials'],
    )
    const { type, project_id, private_key_id, private_key, client_email } = ACCOUNT
    expect(JSON.parse(kept[0] ?? '')).toEqual({ type, project_id, private_key_id, private_key, client_email })
    expect(new Set(kept).size).toBe(1)
  })
})

const allowing = (host: string) => operatorOf({ general_settings: { allowed_client_hosts: [host] } })
const vertex = { model: 'vertex_ai/g', vertex_location: 'us-east1' }
const bedrock = { model: 'bedrock/m', aws_region_name: 'us-east-1' }
const azure = { model: 'azure/gpt', api_base: azureBase }

const pem = (characters: number) =>
  `-----BEGIN PRIVATE KEY-----\n${'A'.repeat(characters)}\n-----END PRIVATE KEY-----\n`

describe('what is missing or wrong is a 400 that names the field', () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ ...azure, tenant_id: 't', client_id: 'c' }, 'client_secret'],
    [{ ...azure, client_secret: 's' }, 'tenant_id'],
    [{ ...azure, api_key: 'k', azure_scope: 'https://cognitiveservices.azure.com/.default' }, 'tenant_id'],
    [{ ...azure, ...AZURE, azure_scope: 'https://evil.example/.default' }, 'azure_scope'],
    [{ ...azure, ...AZURE, tenant_id: 'a/../b' }, 'tenant_id'],
    [{ ...azure, azure_ad_token_provider: 'x' }, 'azure_ad_token_provider'],
    [{ ...azure, azure_username: 'x', azure_password: 'y' }, 'azure_password'],
    [azure, 'api_key'],
    [{ ...vertex }, 'vertex_credentials'],
    [{ ...vertex, api_key: 'k' }, 'api_key'],
    [{ model: 'vertex_ai/g', vertex_credentials: ACCOUNT }, 'vertex_location'],
    [{ ...vertex, vertex_credentials: { ...ACCOUNT, project_id: undefined } }, 'vertex_project'],
    [{ ...vertex, vertex_credentials: '/etc/sa.json' }, 'vertex_credentials'],
    [{ ...vertex, vertex_credentials: '{"type"' }, 'vertex_credentials'],
    [{ ...vertex, vertex_credentials: { ...ACCOUNT, private_key: 'x' } }, 'vertex_credentials'],
    [
      { ...vertex, vertex_credentials: { ...ACCOUNT, universe_domain: 'evil.example' } },
      'vertex_credentials',
    ],
    [{ ...vertex, vertex_credentials: ACCOUNT, vertex_ai_location: 'us-west1' }, 'vertex_ai_location'],
    [{ ...vertex, vertex_credentials: ACCOUNT, vertex_location: 'evil.example/' }, 'vertex_location'],
    [{ ...vertex, vertex_credentials: ACCOUNT, vertex_project: '../p' }, 'vertex_project'],
    [{ ...bedrock }, 'api_key'],
    [{ ...bedrock, aws_access_key_id: 'AKIA' }, 'aws_secret_access_key'],
    [{ ...bedrock, aws_secret_access_key: 'x' }, 'aws_access_key_id'],
    [{ ...bedrock, api_key: 'k', aws_session_token: 'x' }, 'aws_access_key_id'],
    [{ model: 'bedrock/m', ...AWS }, 'aws_region_name'],
    [{ ...bedrock, ...AWS, aws_region_name: 'us-east-1.evil.example' }, 'aws_region_name'],
    [{ ...bedrock, ...AWS, aws_role_name: 'arn:aws:iam::1:role/x' }, 'aws_role_name'],
    [{ ...bedrock, ...AWS, aws_web_identity_token: 'x' }, 'aws_web_identity_token'],
    [{ ...bedrock, ...AWS, aws_sts_endpoint: 'https://evil.example' }, 'aws_sts_endpoint'],
    [{ ...bedrock, ...AWS, aws_profile_name: 'x' }, 'aws_profile_name'],
    [
      { ...bedrock, ...AWS, aws_bedrock_runtime_endpoint: 'https://x.example' },
      'aws_bedrock_runtime_endpoint',
    ],
    [{ ...bedrock, ...AWS, vertex_credentials: ACCOUNT }, 'vertex_credentials'],
    [{ ...bedrock, ...AWS, client_secret: 'x' }, 'client_secret'],
    [{ model: 'cloudflare/m', api_key: 'k' }, 'account_id'],
    [{ model: 'cloudflare/m', account_id: 'x' }, 'api_key'],
    [{ model: 'cloudflare/m', api_key: 'k', account_id: 'a.b' }, 'account_id'],
    [{ model: 'snowflake/m', api_key: 'k', account_id: 'evil.example#' }, 'account_id'],
    [{ model: 'snowflake/m', api_key: 'k' }, 'account_id'],
    [{ model: 'databricks/m', api_key: 'k' }, 'api_base'],
    [{ model: 'ollama/m' }, 'api_base'],
    [{ model: 'anthropic/m' }, 'api_key'],
    [{ model: 'anthropic/m', api_key: 'k', aws_secret_access_key: 'x' }, 'aws_secret_access_key'],
    [{ model: 'gemini/m', api_key: 'k', vertex_credentials: ACCOUNT }, 'vertex_credentials'],
  ]
  test.each(wrong)('%j: %s', (given, param) => {
    const error = inConfig(given)
    expect([error.status, error.param]).toEqual([400, `user_config.model_list[0].litellm_params.${param}`])
    expect(error.message).not.toMatch(/MIIE|aws-secret|app-secret|evil/)
    // Without any credential there is nobody's model to call; and an address is given with a key or not at all.
    const own = [...PROVIDER_SECRETS, 'api_key'].filter((name) => Object.hasOwn(given, name))
    const isBare = own.length === 0 || /_provider$|_username$|_password$/.test(own[0] ?? '')
    const besides = Object.hasOwn(given, 'api_base') ? 'api_base' : 'model'
    expect(refusalFor(given).param).toBe(isBare ? besides : param)
  })

  test.each(['authorized_user', 'external_account', 'impersonated_service_account', 'nonsense'])(
    'a key file of type %s is refused by name',
    (type) => {
      const credentials = {
        type,
        client_secret: 'canary',
        credential_source: { executable: { command: '/bin/canary' } },
      }
      for (const vertex_credentials of [credentials, JSON.stringify(credentials)]) {
        const error = inConfig({ ...vertex, vertex_credentials })
        expect(error.message).toContain('service_account')
        expect(error.message).not.toMatch(/canary|nonsense/)
      }
    },
  )

  test('a key that would take long to sign with: one of 8192 bits takes a quarter of a second', () => {
    const large = { ...ACCOUNT, private_key: pem(6_200) }
    for (const vertex_credentials of [large, JSON.stringify(large)]) {
      expect(inConfig({ ...vertex, vertex_credentials }).message).toContain('private_key')
    }
    const usual = { ...ACCOUNT, private_key: pem(3_200) }
    expect(bundleIn({ ...vertex, vertex_credentials: usual })).toHaveProperty('auth')
  })

  test.each(['vertex_credentials', 'client_secret', 'aws_secret_access_key', 'azure_ad_token'])(
    'a reference to the server in %s',
    (name) => {
      const models: Record<string, string> = { v: 'vertex_ai/g', c: 'azure/g', a: 'bedrock/g' }
      const given = {
        model: name.startsWith('az') ? 'azure/g' : models[name[0] ?? ''],
        [name]: 'os.environ/SECRET',
      }
      expect(refusalFor(given)).toMatchObject({ code: 'refused_reference', param: name })
      expect(refusalFor({ ...given, [name]: 'oidc/google/aud' })).toMatchObject({ code: 'refused_reference' })
    },
  )

  test.each([
    ['aws_access_key', 'aws_access_key_id'],
    ['AWS_SECRET_ACCESS_KEY', 'aws_secret_access_key'],
    ['aws_secret_key', 'aws_secret_access_key'],
    ['awsSessionToken', 'aws_session_token'],
    ['aws_region', 'aws_region_name'],
    ['AWS_BEARER_TOKEN_BEDROCK', 'api_key'],
    ['azure_client_secret', 'client_secret'],
    ['clientSecret', 'client_secret'],
    ['AZURE_TENANT_ID', 'tenant_id'],
    ['azure-ad-token', 'azure_ad_token'],
    ['vertex_credential', 'vertex_credentials'],
    ['google_application_credentials', 'vertex_credentials'],
    ['service_account_json', 'vertex_credentials'],
    ['private_key', 'vertex_credentials'],
  ])('the near miss %s is no parameter of a model, but %s', (name, meant) => {
    const config = configWith({ extra_body: { [name]: 'canary' } })
    for (const error of [
      refusalFor({ model: 'gpt-4o', api_key: 'k', [name]: 'canary' }),
      refusalFor({ model: 'mine', user_config: config }),
    ]) {
      expect([error.status, error.message]).toEqual([400, expect.stringContaining(`"${meant}"`)])
      expect(error.message).not.toContain('canary')
    }
    expect(inConfig({ model: 'openai/m', [name]: 'canary' }).param).toMatch(new RegExp(`\\.${name}$`))
  })

  test('an account is a host of its own, and the list of allowed hosts is for it too', () => {
    const given = { model: 'snowflake/m', api_key: 'k', account_id: 'acc' }
    expect(planOf(given, allowing('acc.snowflakecomputing.com')).bundles).toHaveLength(1)
    expect(refusalFor(given, allowing('other.snowflakecomputing.com'))).toMatchObject({
      param: 'account_id',
      code: 'url_not_allowed',
    })
    // A region is the provider's own address, as his default base is.
    const elsewhere = allowing('nowhere.example')
    expect(planOf({ ...bedrock, ...AWS }, elsewhere).bundles).toHaveLength(1)
  })

  test('a fallback that is an object has its own, whole and for its own call alone', () => {
    const hop = { model: 'vertex_ai/g', vertex_credentials: ACCOUNT, vertex_ai_location: 'us-east1' }
    const { plan, bundles } = planOf({ model: 'gpt-4o', api_key: 'sk-mine', fallbacks: [hop] })
    expect(bundles).toMatchObject([
      { provider: 'openai', api_key: 'sk-mine' },
      { provider: 'vertex_ai', api_key: null, auth: { vertex_location: 'us-east1' } },
    ])
    expect(bundles?.[0]).not.toHaveProperty('auth')
    expect(bundles?.[1]).not.toHaveProperty('overrides')
    const facts = plan.deployments.map((one, index) =>
      deploymentFacts(plan, one, bundles?.[index] ?? null, false),
    )
    expect(facts.map(({ host }) => host)).toEqual(['api.openai.com', 'us-east1-aiplatform.googleapis.com'])
    expect(JSON.stringify([plan, facts])).not.toMatch(/MIIE|robot|acme-prod|sk-mine/)
    const error = refusalFor({
      model: 'gpt-4o',
      api_key: 'sk-mine',
      fallbacks: [{ ...hop, vertex_ai_location: 'x.y' }],
    })
    expect(error.param).toBe('fallbacks[0].vertex_ai_location')
  })
})

describe('who a deployment is', () => {
  test("prices and window are known at the provider's own host, wherever its region is, and at no other", () => {
    const model = 'bedrock/anthropic.claude-3-5-haiku-20241022-v1:0'
    const factsAt = (params: Record<string, unknown>) =>
      planOf({
        model: 'mine',
        user_config: configWith({ model, api_key: 'k', aws_region_name: 'us-east-1', ...params }),
      }).plan.deployments[0]
    expect(factsAt({})?.prices?.input).toBeGreaterThan(0)
    expect(factsAt({ aws_region_name: 'eu-west-1' })?.max_input_tokens).toBeGreaterThan(0)
    expect(factsAt({ api_base: 'https://proxy.example' })?.prices).toBeUndefined()
  })

  test('every part of the credential makes another deployment and another key', () => {
    const variants = [
      { ...bedrock, ...AWS },
      { ...bedrock, ...AWS, aws_secret_access_key: 'other' },
      { ...bedrock, ...AWS, aws_access_key_id: 'AKIAOTHER' },
      { ...bedrock, ...AWS, aws_session_token: 'session' },
      { ...bedrock, ...AWS, aws_region_name: 'us-west-2' },
      { ...bedrock, api_key: 'k' },
      { ...azure, ...AZURE },
      { ...azure, ...AZURE, client_secret: 'other' },
      { ...azure, ...AZURE, tenant_id: 'other' },
      { ...vertex, vertex_credentials: ACCOUNT },
      { ...vertex, vertex_credentials: ACCOUNT, vertex_project: 'other-project' },
      { ...vertex, vertex_credentials: { ...ACCOUNT, private_key: KEY.replace('MIIE', 'MIIF') } },
    ]
    const made = variants.map((given) => {
      const { plan } = planOf({ model: 'mine', user_config: configWith({ api_key: null, ...given }) })
      return plan.deployments[0]
    })
    expect(new Set(made.map((one) => one?.id)).size).toBe(variants.length)
    expect(new Set(made.map((one) => one?.key_id)).size).toBe(variants.length)
    expect(JSON.stringify(made)).not.toMatch(/secret|AKIA|MIIE|robot|app-id/)
  })

  test('the order in which credentials are given does not', () => {
    const bundle = bundleIn({ ...bedrock, ...AWS })
    if (!bundle) throw new Error('no bundle')
    const turned = { ...bundle, auth: Object.fromEntries(Object.entries(bundle.auth ?? {}).toReversed()) }
    expect(deploymentIds(turned, OPERATOR, ids)).toEqual(deploymentIds(bundle, OPERATOR, ids))
  })
})
