import { describe, expect, test } from 'vitest'
import { operatorOf, planOf, refusalFor } from './plan-support.ts'

const deployment = (model: string, params: Record<string, unknown>) => ({
  model_name: 'chat',
  litellm_params: { model: `openai/${model}`, api_key: 'sk-own', ...params },
})

/** The models that a request may call, by the tags of its deployments. */
function calledWith(tags: Record<string, string[]>, request: Record<string, unknown>, router = {}) {
  const list = Object.entries(tags).map(([model, own]) => deployment(model, { tags: own }))
  const config = { model_list: list, enable_tag_filtering: true, ...router }
  const { plan, body } = planOf({ model: 'chat', user_config: config, ...request })
  return { models: plan.deployments.map(({ model }) => model), body }
}

describe('tags', () => {
  const tiers = { free: ['free', 'eu'], paid: ['paid', 'eu'], both: ['free', 'paid'], others: ['default'] }
  const chosen: [string[], string[]][] = [
    [['free'], ['free', 'both']],
    [
      ['free', 'paid'],
      ['free', 'paid', 'both'],
    ],
    [['unheard'], ['others']],
    [[], ['others']],
    [['eu', '!paid'], ['free']],
    [['&eu', '&paid'], ['paid']],
    [['free', '&paid'], ['both']],
    [['!eu'], ['others']],
    [['&unheard'], ['others']],
  ]
  test.each(chosen)('%j may call %j', (tags, models) => {
    expect(calledWith(tiers, { tags }).models).toEqual(models)
  })

  test('without tags, and with no deployment tagged default, all may be called', () => {
    expect(calledWith({ a: ['x'], b: [] }, {}).models).toEqual(['a', 'b'])
    expect(calledWith({ a: ['x'], b: ['y'] }, { tags: ['!x'] }).models).toEqual(['b'])
  })

  test('that leave nobody are a 400 of their own code', () => {
    const config = {
      model_list: [deployment('a', { tags: ['x'] }), deployment('b', { tags: ['default'] })],
      enable_tag_filtering: true,
    }
    const ask = { model: 'chat', user_config: config }
    expect(planOf({ ...ask, tags: ['y'] }).plan.deployments).toHaveLength(1)
    const refusal = refusalFor({ ...ask, tags: ['y', '!default'] })
    expect([refusal.param, refusal.code, refusal.status]).toEqual(['tags', 'no_deployment_for_tags', 400])
  })

  test('choose nothing unless the config filters by them, whatever the request says', () => {
    const off = { enable_tag_filtering: false }
    expect(calledWith(tiers, { tags: ['free'] }, off).models).toHaveLength(4)
    expect(calledWith(tiers, { tags: ['free'], enable_tag_filtering: true }, off).models).toHaveLength(4)
    expect(calledWith(tiers, { tags: ['free'], enable_tag_filtering: false }).models).toHaveLength(2)
  })

  test('stand in metadata, too, and no provider sees them', () => {
    const alone = calledWith(tiers, { metadata: { tags: ['paid'] } })
    expect(alone.models).toEqual(['paid', 'both'])
    expect(alone.body).not.toHaveProperty('metadata')
    const beside = calledWith(tiers, { tags: ['free'], metadata: { tags: ['paid'], session: 'a' } })
    expect(beside.models).toEqual(['free', 'both'])
    expect(beside.body['metadata']).toEqual({ session: 'a' })
  })

  test('in metadata that are no list of names stay where they are', () => {
    for (const tags of ['free', { a: 1 }]) {
      expect(calledWith(tiers, { metadata: { tags } }).body['metadata']).toEqual({ tags })
    }
  })

  test('hold for the groups behind as well: one that they leave nobody of is left out', () => {
    const list = [
      deployment('start', { tags: ['x'] }),
      { ...deployment('next', { tags: ['y'] }), model_name: 'next' },
      { ...deployment('last', { tags: ['x'] }), model_name: 'last' },
    ]
    const config = { model_list: list, enable_tag_filtering: true, fallbacks: [{ chat: ['next', 'last'] }] }
    const { plan } = planOf({ model: 'chat', user_config: config, tags: ['x'] })
    expect(plan.fallbacks).toEqual({ chat: ['last'] })
    expect(plan.deployments.map(({ group }) => group)).toEqual(['chat', 'last'])
  })

  const many = Array.from({ length: 101 }, (_, index) => `tag${index}`)
  test.each([{ tags: 'free' }, { tags: [7] }, { tags: ['a', ''] }, { tags: many }])(
    'are names, a hundred at most: %j',
    (request) => {
      const config = { model_list: [deployment('a', {})] }
      expect(refusalFor({ model: 'chat', user_config: config, ...request }).param).toBe('tags')
    },
  )
})

describe('allowed_model_region', () => {
  const regions = { a: 'eu-west-1', b: 'europe-west1', c: 'us-east-1', d: undefined }
  const list = Object.entries(regions).map(([model, region]) => deployment(model, { region_name: region }))
  const models = (region: string, router = {}) =>
    planOf({
      model: 'chat',
      user_config: { model_list: list, ...router },
      allowed_model_region: region,
    }).plan.deployments.map(({ model }) => model)

  test.each([
    ['eu', ['a', 'b']],
    ['EU', ['a', 'b']],
    ['us', ['c']],
    ['europe', ['b']],
    ['us-east-1', ['c']],
  ])('%s leaves %j: a region that is not known does not fit', (region, left) => {
    expect(models(region)).toEqual(left)
    expect(models(region, { enable_pre_call_checks: true })).toEqual(left)
  })

  test('that leaves nobody is a 400', () => {
    const ask = { model: 'chat', user_config: { model_list: list } }
    expect(refusalFor({ ...ask, allowed_model_region: 'ap' }).param).toBe('allowed_model_region')
    expect(refusalFor({ ...ask, allowed_model_region: 7 }).param).toBe('allowed_model_region')
  })

  test("holds for the operator's models, with a client's key as well, and for a key alone", () => {
    const operator = operatorOf({ model_list: [houseEntry('a', 'eu-west-1'), houseEntry('b', 'us-east-1')] })
    for (const credentials of [{}, { api_key: 'sk-client' }]) {
      const { plan } = planOf({ model: 'house', allowed_model_region: 'eu', ...credentials }, operator)
      expect(plan.deployments.map(({ model }) => model)).toEqual(['a'])
    }
    const alone = { model: 'openai/gpt-4o', api_key: 'sk-client', allowed_model_region: 'eu' }
    expect(refusalFor(alone).param).toBe('allowed_model_region')
  })
})

function houseEntry(model: string, region: string) {
  return {
    model_name: 'house',
    litellm_params: {
      model: `openai/${model}`,
      api_key: 'sk-house',
      region_name: region,
      configurable_clientside_auth_params: ['api_key'],
    },
  }
}
