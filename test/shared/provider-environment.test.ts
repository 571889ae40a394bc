import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InvalidRequestError } from '../../shared/errors.ts'
import { allProviders, type ProviderEntry } from '../../shared/settings/provider-catalog.ts'
import { configWith, operatorOf, planOf } from './plan-support.ts'

const CANARY = 'canary-of-the-environment'
const KEY_FILE = JSON.stringify({
  type: 'service_account',
  project_id: `${CANARY}-project`,
  private_key: '-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n',
  client_email: `${CANARY}@x.iam.gserviceaccount.com`,
})

/** Every variable that the catalog knows, and those that providers' SDKs read by themselves. */
const NAMES = [
  ...new Set([
    ...allProviders().flatMap((provider) => [
      ...provider.keyVariables,
      ...provider.baseVariables,
      ...Object.values(provider.authVariables).flat(),
    ]),
    'AWS_PROFILE',
    'AWS_ROLE_ARN',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'GOOGLE_GENERATIVE_AI_API_KEY',
    'OPENAI_BASE_URL',
    'OPENAI_ORG_ID',
  ]),
]

function valueOf(name: string): string {
  if (name === 'VERTEXAI_CREDENTIALS') return KEY_FILE
  if (/_(?:API_BASE|BASE_URL|BASE)$/.test(name)) return `https://${CANARY}.example`
  return CANARY
}

const before = { ...process.env }
beforeAll(() => {
  for (const name of NAMES) process.env[name] = valueOf(name)
})
afterAll(() => {
  for (const name of NAMES) delete process.env[name]
  Object.assign(process.env, before)
})

const ACCOUNT = { ...JSON.parse(KEY_FILE), project_id: 'mine', client_email: 'me@x.iam.gserviceaccount.com' }
const OWN: Record<string, unknown> = {
  vertex_credentials: ACCOUNT,
  vertex_location: 'us-east1',
  aws_region_name: 'us-east-1',
  account_id: 'mine',
  api_base: 'https://mine.example/v1',
}

/** What completes a call of a provider, one way after the other. */
function waysOf({ name, credentials, places, placeBase }: ProviderEntry) {
  return credentials.map(({ fields }) => {
    const all = [...fields, ...places, ...(placeBase ? [] : ['api_base'])]
    const given = Object.fromEntries(
      all.map((field) => [field, OWN[field] ?? `own-${field.replaceAll('_', '-')}`]),
    )
    return { model: `${name}/some-model`, ...given }
  })
}

const served = allProviders().filter(({ family }) => family !== 'unserved')

describe("the process's environment is nobody's credential", () => {
  test.each(served.map((provider) => [provider.name, provider] as const))(
    'whatever a client gives or leaves out of %s, nothing of it is in his plan or bundles',
    (_name, provider) => {
      let planned = 0
      for (const whole of waysOf(provider)) {
        const names = Object.keys(whole).filter((field) => field !== 'model')
        // Each field left out once, then none of them.
        for (const missing of [...names, null]) {
          const given = Object.fromEntries(Object.entries(whole).filter(([field]) => field !== missing))
          const config = configWith({ api_key: null, ...given })
          for (const body of [given, { model: 'mine', user_config: config }]) {
            for (const endpoint of provider.endpoints) {
              const made = tryPlan(body, endpoint)
              planned += made === null ? 0 : 1
              expect(JSON.stringify(made)).not.toContain(CANARY)
            }
          }
        }
      }
      expect(planned).toBeGreaterThan(0)
    },
  )

  test('nothing of it is in the plan of a model that nobody configured', () => {
    for (const { name } of allProviders()) expect(tryPlan({ model: `${name}/m` }, 'chat')).toBeNull()
  })
})

function tryPlan(body: Record<string, unknown>, endpoint: ProviderEntry['endpoints'][number]) {
  try {
    const { plan, bundles } = planOf(body, operatorOf(), 'acme', endpoint)
    return { plan, bundles }
  } catch (error) {
    if (!(error instanceof InvalidRequestError)) throw error
    expect(error.message).not.toContain(CANARY)
    return null
  }
}

describe("the operator's own models take from it what their file leaves out", () => {
  const environment = Object.fromEntries(NAMES.map((name) => [name, valueOf(name)]))
  function bundleOf(params: Record<string, unknown>, variables: Record<string, string> = environment) {
    const operator = operatorOf({ model_list: [{ model_name: 'house', litellm_params: params }] }, variables)
    return operator.deployments[0]?.bundle
  }

  test.each(served.filter(({ keyVariables }) => keyVariables.length > 0).map(({ name }) => name))(
    '%s by its key',
    (name) => {
      const bundle = bundleOf({
        model: `${name}/m`,
        ...(name === 'databricks' && { api_base: 'https://x.example' }),
      })
      expect(bundle).toMatchObject({ api_key: CANARY })
    },
  )

  test('a whole credential at a time, the usual one first', () => {
    const { AWS_BEARER_TOKEN_BEDROCK: _bearer, ...signed } = environment
    expect(bundleOf({ model: 'bedrock/m' })).toMatchObject({
      api_key: CANARY,
      auth: { aws_region_name: CANARY },
    })
    expect(bundleOf({ model: 'bedrock/m' }, signed)).toMatchObject({
      api_key: null,
      auth: { aws_access_key_id: CANARY, aws_secret_access_key: CANARY, aws_session_token: CANARY },
    })
    const half = { AWS_ACCESS_KEY_ID: CANARY, AWS_REGION: 'us-east-1' }
    expect(bundleOf({ model: 'bedrock/m' }, half)?.auth).toEqual({ aws_region_name: 'us-east-1' })
    expect(bundleOf({ model: 'vertex_ai/m' })?.auth).toMatchObject({ vertex_project: CANARY })
    const app = {
      AZURE_TENANT_ID: 't',
      AZURE_CLIENT_ID: 'c',
      AZURE_CLIENT_SECRET: 's',
      AZURE_API_BASE: 'https://a.example',
    }
    expect(bundleOf({ model: 'azure/m' }, app)?.auth).toEqual({
      tenant_id: 't',
      client_id: 'c',
      client_secret: 's',
    })
  })

  test("a service account's key file by its path, which no client can name", () => {
    const folder = mkdtempSync(join(tmpdir(), 'key-file-'))
    const file = join(folder, 'account.json')
    writeFileSync(file, KEY_FILE)
    const model = { model: 'vertex_ai/m', vertex_location: 'us-east1' }
    for (const bundle of [
      bundleOf({ ...model, vertex_credentials: file }, {}),
      bundleOf(model, { GOOGLE_APPLICATION_CREDENTIALS: file }),
    ]) {
      expect(bundle?.auth).toMatchObject({ vertex_project: `${CANARY}-project`, vertex_location: 'us-east1' })
    }
    rmSync(folder, { recursive: true })
    expect(() => bundleOf({ ...model, vertex_credentials: file }, {})).toThrow(/names a file/)
    const config = configWith({ api_key: null, ...model, vertex_credentials: file })
    for (const body of [
      { model: 'mine', user_config: config },
      { ...model, vertex_credentials: file },
    ]) {
      expect(() => planOf(body)).toThrow(/path of a file/)
    }
  })

  test('none of it beside a credential of the file, and none for another base', () => {
    const own = { model: 'bedrock/m', aws_access_key_id: 'a', aws_secret_access_key: 'b' }
    expect(bundleOf(own)).toMatchObject({
      api_key: null,
      auth: { aws_access_key_id: 'a', aws_secret_access_key: 'b' },
    })
    expect(bundleOf(own)?.auth).not.toHaveProperty('aws_session_token')
    expect(bundleOf({ model: 'bedrock/m', api_base: 'https://mine.example' })?.api_key).toBeNull()
    expect(bundleOf({ model: 'groq/m', api_base: 'https://mine.example' })?.api_key).toBeNull()
  })
})
