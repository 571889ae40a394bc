import { describe, expect, test } from 'vitest'
import { bundleOf, OPERATOR } from '../../shared/settings/deployments.ts'
import { operatorBundles } from '../../shared/settings/operator-config.ts'
import { ids, operatorOf, planOf, refusalFor } from './plan-support.ts'

const KEY = '-----BEGIN PRIVATE KEY-----\nT1BFUkFUT1I=\n-----END PRIVATE KEY-----\n'
const account = (name: string) => ({
  type: 'service_account',
  project_id: `${name}-project`,
  private_key: KEY,
  client_email: `${name}@x.iam.gserviceaccount.com`,
})

/** An operator's model on Vertex AI that lets clients set some fields. */
function house(optIns: unknown, params: Record<string, unknown> = {}) {
  const entry = {
    model: 'vertex_ai/gemini-2.5-flash',
    vertex_credentials: account('operator'),
    vertex_location: 'europe-west4',
    configurable_clientside_auth_params: optIns,
    ...params,
  }
  return operatorOf({ model_list: [{ model_name: 'house', litellm_params: entry }] })
}

/** What a worker calls the first deployment with. */
function calledWith(body: Record<string, unknown>, operator: ReturnType<typeof house>) {
  const { plan, bundles } = planOf(body, operator)
  const [deployment] = plan.deployments
  if (!deployment) throw new Error('no deployment')
  return { plan, bundles, bundle: bundleOf(deployment, bundles?.[0], operatorBundles(operator, ids)) }
}

test('a worker knows whose credential it calls with', () => {
  const operator = house(['vertex_credentials', 'vertex_location'])
  expect(calledWith({ model: 'house' }, operator).bundle).toHaveProperty('is_operators', true)
  const own = { model: 'house', vertex_credentials: account('client') }
  expect(calledWith(own, operator).bundle).not.toHaveProperty('is_operators')
})

describe("a place beside the operator's key", () => {
  test.each(['vertex_location', 'vertex_ai_location'])('%s needs the opt-in', (name) => {
    for (const optIns of [null, ['vertex_project'], ['api_base']]) {
      const error = refusalFor({ model: 'house', [name]: 'us-east1' }, house(optIns))
      expect([error.param, error.message]).toEqual([name, expect.stringContaining('configurable_clientside')])
    }
  })

  test.each([
    ['vertex_location', 'vertex_ai_location'],
    ['vertex_ai_location', 'vertex_location'],
    ['vertex_location', 'vertex_location'],
  ])('with the opt-in %s, %s moves the call and no secret into Redis', (optIn, name) => {
    const operator = house([optIn])
    const { plan, bundles, bundle } = calledWith({ model: 'house', [name]: 'us-east1' }, operator)
    expect(JSON.stringify([plan, bundles])).not.toMatch(/PRIVATE|operator@|operator-project/)
    expect(bundle).toMatchObject({
      api_base: 'https://us-east1-aiplatform.googleapis.com',
      trusted_base: false,
      auth: { vertex_location: 'us-east1', vertex_project: 'operator-project' },
    })
    expect(plan.owner_id).toBe(OPERATOR)
    expect(plan.deployments[0]?.id).toBe(planOf({ model: 'house' }, operator).plan.deployments[0]?.id)
  })

  test('it is taken out of the body, and stays there for providers that have no use for it', () => {
    const { body } = planOf(
      { model: 'house', vertex_location: 'us-east1', top_k: 3 },
      house(['vertex_location']),
    )
    expect(body).not.toHaveProperty('vertex_location')
    expect(body['top_k']).toBe(3)
    const openai = operatorOf({
      model_list: [{ model_name: 'house', litellm_params: { model: 'openai/gpt-4o', api_key: 'k' } }],
    })
    expect(planOf({ model: 'house', vertex_location: 'us-east1' }, openai).body['vertex_location']).toBe(
      'us-east1',
    )
  })

  test.each(['evil.example/', 'us-east1.evil.example', '..', 'us east1'])(
    '%s is no place',
    (vertex_location) => {
      const error = refusalFor({ model: 'house', vertex_location }, house(['vertex_location']))
      expect([error.param, error.message]).toEqual(['vertex_location', expect.not.stringContaining('evil')])
    },
  )

  test("another customer's host never gets the operator's key", () => {
    const entry = {
      model: 'snowflake/m',
      api_key: 'operator-jwt',
      account_id: 'operator-account',
      configurable_clientside_auth_params: ['account_id', 'api_key'],
    }
    const operator = operatorOf({ model_list: [{ model_name: 'flake', litellm_params: entry }] })
    expect(refusalFor({ model: 'flake', account_id: 'evil' }, operator).param).toBe('account_id')
    const { bundles } = planOf({ model: 'flake', account_id: 'mine', api_key: 'jwt' }, operator)
    expect(bundles).toMatchObject([
      {
        api_key: 'jwt',
        api_base: 'https://mine.snowflakecomputing.com/api/v2/cortex/v1',
        trusted_base: false,
      },
    ])
  })

  test('it counts as a credential where clients may not bring any', () => {
    const operator = operatorOf({
      model_list: [
        {
          model_name: 'b',
          litellm_params: { model: 'bedrock/m', api_key: 'k', aws_region_name: 'us-east-1' },
        },
      ],
      general_settings: { allow_client_side_credentials: false },
    })
    expect(refusalFor({ model: 'b', aws_region_name: 'eu-west-1' }, operator).code).toBe(
      'client_credentials_disabled',
    )
  })
})

describe("a client's own credential on the operator's model", () => {
  const mine = { model: 'house', vertex_credentials: account('mine') }

  test("keeps the region and takes the project of the client's own account", () => {
    const { bundles } = planOf(mine, house(['vertex_credentials']))
    expect(bundles).toMatchObject([
      {
        api_base: 'https://europe-west4-aiplatform.googleapis.com',
        auth: { vertex_location: 'europe-west4', vertex_project: 'mine-project' },
      },
    ])
    expect(JSON.stringify(bundles)).not.toContain('operator')
  })

  test('needs the opt-in of each field', () => {
    expect(refusalFor(mine, house(['vertex_location'])).param).toBe('vertex_credentials')
    const both = { ...mine, vertex_location: 'us-east1' }
    expect(refusalFor(both, house(['vertex_credentials'])).param).toBe('vertex_location')
    const { bundles } = planOf(both, house(['vertex_credentials', 'vertex_ai_location']))
    expect(bundles).toMatchObject([
      { api_base: 'https://us-east1-aiplatform.googleapis.com', trusted_base: false },
    ])
  })

  test('is refused where the provider has another kind', () => {
    const given = { model: 'house', aws_access_key_id: 'a', aws_secret_access_key: 'b' }
    const optIns = ['aws_access_key_id', 'aws_secret_access_key']
    expect(refusalFor(given, house(optIns)).param).toBe('aws_access_key_id')
  })
})
