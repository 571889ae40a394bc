import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { planOfLine, readLine, type InputLine, type LineContext } from '../../shared/batches/batch-lines.ts'
import { createLinePlans } from '../../shared/batches/line-plans.ts'
import { configWith, egress, ids, operatorOf, refusalIn } from './plan-support.ts'

const operator = operatorOf({
  model_list: [{ model_name: 'house', litellm_params: { model: 'openai/gpt-4o', api_key: 'sk-house' } }],
})
const context: LineContext = { tenant: 'acme', customer: null, endpoint: '/v1/chat/completions' }
const messages = [{ role: 'user', content: 'hi' }]

/** A line as it is read from its text. */
function lineOf(body: Record<string, unknown>, beside: Record<string, unknown> = {}): InputLine {
  const whole = { custom_id: 'a', ...beside, body: { model: 'openai/gpt-4o', messages, ...body } }
  return readLine({ line: 0, text: Buffer.from(JSON.stringify(whole)), credentials: 'own' })
}

function plan(line: InputLine, defaults: Record<string, unknown> = {}, around: Partial<LineContext> = {}) {
  return planOfLine(line, defaults, { ...context, ...around }, { operator, ids, egress })
}

function refusal(
  body: Record<string, unknown>,
  beside: Record<string, unknown> = {},
  defaults: Record<string, unknown> = {},
  around: Partial<LineContext> = {},
) {
  const { param, code, message } = refusalIn(() => plan(lineOf(body, beside), defaults, around))
  return { param, code, message }
}

describe('a line', () => {
  test("has its own fields over those of its batch; what it leaves null is the batch's", () => {
    const defaults = { api_key: 'sk-batch', num_retries: 5, temperature: 1, fallbacks: ['openai/gpt-4.1'] }
    const { body, plan: made, bundles } = plan(lineOf({ num_retries: 1, api_key: null }), defaults)
    expect(made.request_num_retries).toBe(1)
    expect(bundles?.map(({ api_key }) => api_key)).toEqual(['sk-batch', 'sk-batch'])
    expect(body).toEqual({ model: 'openai/gpt-4o', messages, temperature: 1 })
  })

  test('may give its gateway fields beside its body', () => {
    const { bundles, plan: made } = plan(lineOf({}, { api_key: 'sk-line', num_retries: 2 }))
    expect(bundles?.map(({ api_key }) => api_key)).toEqual(['sk-line'])
    expect(made.request_num_retries).toBe(2)
  })

  test('is for its own customer, else for that of its batch', () => {
    const batch = { customer: 'batch' }
    expect(plan(lineOf({ api_key: 'k' }), {}, batch).customer).toBe('batch')
    expect(plan(lineOf({ api_key: 'k', customer: 'body' }), {}, batch).customer).toBe('body')
    expect(plan(lineOf({ api_key: 'k', customer: 'body' }, { customer: 'line' }), {}, batch).customer).toBe(
      'line',
    )
    const owners = ['one', 'two', 'one'].map(
      (customer) => plan(lineOf({ api_key: 'k' }, { customer }), {}, batch).plan.owner_id,
    )
    expect(new Set(owners).size).toBe(2)
    expect(owners[0]).toBe(ids.ownerId('acme', 'one'))
  })

  test('goes to its own endpoint where the batch has none', () => {
    const line = lineOf(
      { api_key: 'k', input: 'hi', model: 'openai/text-embedding-3-small' },
      { url: '/v1/embeddings' },
    )
    expect(plan(line, {}, { endpoint: '*' }).endpoint.name).toBe('embeddings')
    expect(plan(lineOf({ api_key: 'k' })).endpoint.path).toBe('/v1/chat/completions')
  })
})

describe('a line with credentials of its own', () => {
  const SECRET = 'B4TCH'
  const anyDefaults: Record<string, unknown>[] = [
    {
      api_key: SECRET,
      api_base: `https://${SECRET}.openai.azure.com`,
      api_version: SECRET,
      organization: SECRET,
    },
    { user_config: configWith({ api_key: SECRET }) },
    { api_key: SECRET, extra_headers: { 'x-key': SECRET }, default_headers: { 'x-key': SECRET } },
    { api_key: SECRET, extra_body: { deep: { secret: SECRET } } },
    { api_key: SECRET, fallbacks: [{ model: 'openai/gpt-4.1', api_key: SECRET }] },
    {
      api_key: SECRET,
      context_window_fallbacks: [{ model: 'openai/gpt-4.1', extra_body: { deep: SECRET } }],
    },
    { vertex_credentials: SECRET, vertex_project: SECRET, vertex_location: SECRET },
    { aws_access_key_id: SECRET, aws_secret_access_key: SECRET, aws_region_name: SECRET },
    { custom_llm_provider: SECRET, api_key: SECRET },
  ]
  const own: Record<string, unknown>[] = [
    { api_key: 'sk-line' },
    { user_config: configWith({ api_key: 'sk-line' }), model: 'mine' },
  ]

  test("has nothing of its batch's, wherever the two stand", () => {
    for (const defaults of anyDefaults) {
      for (const fields of own) {
        const { model = 'openai/gpt-4o', ...beside } = fields
        for (const line of [lineOf(fields), lineOf({ model }, beside)]) {
          const made = plan(line, defaults)
          expect(JSON.stringify(made)).not.toContain(SECRET)
          expect(made.bundles?.map(({ api_key }) => api_key)).toEqual(['sk-line'])
          expect(made).toEqual(plan(line))
        }
      }
    }
  })

  test('keeps the settings of its batch, and fallbacks that are called with its key', () => {
    const defaults = {
      api_key: SECRET,
      num_retries: 4,
      fallbacks: [{ model: 'openai/gpt-4.1', temperature: 0 }],
    }
    const { plan: made, bundles } = plan(lineOf({ api_key: 'sk-line' }), defaults)
    expect(made.request_num_retries).toBe(4)
    expect(bundles?.map(({ api_key }) => api_key)).toEqual(['sk-line', 'sk-line'])
  })
})

describe('refused', () => {
  test.each([
    [{ stream: true }, {}, 'body.stream', 'unsupported_stream'],
    [{ background: true }, {}, 'body.background', 'invalid_request'],
    [{ priority: 1 }, {}, 'body.priority', 'invalid_request'],
    [{}, { priority: 1 }, 'priority', 'invalid_request'],
    [{ job: {} }, {}, 'body.job', 'invalid_request'],
    [{ messages: null }, {}, 'body.messages', 'invalid_parameter'],
    [{ model: undefined }, {}, 'body.model', 'missing_required_parameter'],
    [{ api_key: 'k', num_retries: -1 }, {}, 'body.num_retries', 'invalid_request'],
    [{ api_key: 'k' }, { num_retries: -1 }, 'num_retries', 'invalid_request'],
    [{ apiKey: 'k' }, {}, 'body.apiKey', 'invalid_request'],
    [{}, { apiKey: 'k' }, 'apiKey', 'unknown_parameter'],
    [{}, { metadata: {} }, 'metadata', 'unknown_parameter'],
    [{ api_key: 'k' }, { api_key: 'k' }, 'body.api_key', 'invalid_request'],
    [{ api_key: 'k' }, { user_config: configWith({}) }, 'body.api_key', 'ambiguous_credentials'],
    [{ model: 'nobodys' }, {}, 'body.model', 'model_not_found'],
    [{ api_key: '[erased]' }, {}, 'body.api_key', 'credentials_required'],
    [{}, { user_config: '[erased]' }, 'user_config', 'credentials_required'],
    [{ api_key: 'k', fallbacks: '[erased]' }, {}, 'body.fallbacks', 'credentials_required'],
    [{}, { url: '/v1/embeddings' }, 'url', 'mismatched_url'],
    [{}, { method: 'GET' }, 'method', 'invalid_parameter'],
    [{}, { custom_id: 'x'.repeat(257) }, 'custom_id', 'invalid_parameter'],
    [{}, { customer: '' }, 'customer', 'invalid_parameter'],
  ])('%j beside %j', (body, beside, param, code) => {
    expect(refusal(body, beside)).toMatchObject({ param, code })
  })

  test('with the place in the batch where the batch is at fault', () => {
    expect(refusal({ api_key: 'k' }, {}, { num_retries: -1 }).param).toBe('num_retries')
    expect(refusal({}, {}, { user_config: configWith({ api_key: null }) }).param).toMatch(/^user_config\./)
  })

  test('without an endpoint, or with one that is not served, where the batch has none', () => {
    expect(refusal({}, {}, {}, { endpoint: '*' })).toMatchObject({
      param: 'url',
      code: 'missing_required_parameter',
    })
    expect(refusal({}, { url: '/v1/images' }, {}, { endpoint: '*' })).toMatchObject({
      param: 'url',
      code: 'unsupported_endpoint',
    })
  })

  test('without a word of what it says', () => {
    const { message } = refusal({ api_key: 'k', timeout: 'S3CR3T' })
    expect(message).toContain('`body.timeout`')
    expect(message).not.toContain('S3CR3T')
  })
})

/** Plans of lines, and how often an id of a deployment was made for them. */
function count(lines: readonly InputLine[], defaults: Record<string, unknown>) {
  let made = 0
  const counting = {
    ...ids,
    fingerprint(purpose: string, ...parts: string[]) {
      made += 1
      return ids.fingerprint(purpose, ...parts)
    },
  }
  const plans = createLinePlans()
  const all = lines.map((line) =>
    planOfLine(line, defaults, context, { operator, ids: counting, egress, plans }),
  )
  return { made, all }
}

type Fields = Record<string, unknown>

describe('remembered plans', () => {
  const values: Record<string, unknown[]> = {
    model: ['openai/gpt-4.1', 'house', 'nobodys', 'vertex_ai/gemini-2.5-flash'],
    num_retries: [0, 3, null, -1],
    fallbacks: [['openai/gpt-4.1'], ['house'], [{ 'openai/gpt-4o': ['openai/gpt-4.1'] }], null],
    timeout: [5, 70_000],
    metadata: [{ tags: ['a'] }, { tags: ['b'], other: 'x' }, { other: 'y' }],
    tags: [['a'], ['b']],
    customer: ['one', 'two'],
    api_key: ['sk-a', 'sk-b', null],
    vertex_location: ['us-central1', 'europe-west1'],
    stream: [false, null],
    stream_options: [{ include_usage: true }],
    temperature: [0, 1],
    unknown_one: [null, {}, 'x'],
    mock_response: ['x', 'y'],
    extra_body: [{ top_k: 1 }, { top_k: 2 }],
    drop_params: [true, false],
    allowed_model_region: ['eu', 'us'],
  }
  const field = fc
    .constantFrom(...Object.entries(values))
    .chain(([name, some]) => fc.constantFrom(...some).map((value) => ({ [name]: value })))
  const fields = fc.array(field, { maxLength: 2 }).map((some) => Object.assign({}, ...some) as Fields)
  const anyDefaults = fc.constantFrom<Record<string, unknown>>(
    {},
    { api_key: 'sk-batch' },
    { api_key: 'sk-batch', num_retries: 2, fallbacks: ['openai/gpt-4.1'] },
    { model: 'vertex_ai/gemini-2.5-flash', api_key: 'sk-batch', vertex_location: 'us-east1' },
    {
      api_key: 'sk-batch',
      fallbacks: [{ model: 'openai/gpt-4.1', stream_options: { include_usage: true } }],
    },
    { user_config: configWith({ model: 'openai/gpt-4o' }), tags: ['a'] },
  )

  test('are what they would be if made anew', () => {
    fc.assert(
      fc.property(fc.array(fields, { minLength: 2, maxLength: 6 }), anyDefaults, (bodies, defaults) => {
        const plans = createLinePlans()
        for (const body of bodies) {
          const line = lineOf(body)
          const made = outcomeOf(() => plan(line, defaults))
          const remembered = () => planOfLine(line, defaults, context, { operator, ids, egress, plans })
          expect(outcomeOf(remembered)).toEqual(made)
          expect(outcomeOf(remembered)).toEqual(made)
        }
      }),
      { numRuns: 400 },
    )
  })

  test('are made once for all lines of one kind, and each line has its own body', () => {
    const lines = Array.from({ length: 100 }, (_, one) =>
      lineOf({ temperature: one, messages: [{ content: one }] }),
    )
    const defaults = { api_key: 'sk-batch' }
    const once = count(lines.slice(0, 1), defaults)
    const { made, all } = count(lines, defaults)
    expect(once.made).toBeGreaterThan(0)
    expect(made).toBe(once.made)
    expect(all.map(({ body }) => body['temperature'])).toEqual([...lines.keys()])
  })

  test('tell lines apart by the places they name, which never go into a body', () => {
    const plans = createLinePlans()
    const defaults = { aws_access_key_id: 'id', aws_secret_access_key: 'secret' }
    const model = 'bedrock/amazon.nova-lite-v1:0'
    for (const region of ['eu-west-1', 'us-east-1', 'eu-west-1']) {
      const line = lineOf({ model, aws_region_name: region })
      const made = planOfLine(line, defaults, context, { operator, ids, egress, plans })
      expect(made.bundles?.[0]?.auth?.['aws_region_name']).toBe(region)
      expect(made.body).toEqual({ model, messages })
    }
  })

  test('are not kept for lines with credentials of their own', () => {
    const lines = Array.from({ length: 10 }, (_, one) => lineOf({ api_key: `sk-${one}` }))
    const once = count(lines.slice(0, 1), {})
    const { made, all } = count(lines, {})
    expect(made).toBe(10 * once.made)
    expect(all.map(({ bundles }) => bundles?.[0]?.api_key)).toEqual(lines.map(({ body }) => body['api_key']))
  })

  test('of long configs are kept as far as there is room for them', () => {
    const plans = createLinePlans()
    const deployment = configWith({ model: 'openai/gpt-4o' }).model_list
    const defaults = { user_config: { model_list: Array.from({ length: 100 }, () => deployment).flat() } }
    for (let one = 1; one <= 60; one += 1) {
      const line = lineOf({ model: deployment[0]?.model_name, timeout: one })
      planOfLine(line, defaults, context, { operator, ids, egress, plans })
    }
    expect(plans.get(defaults)?.size).toBeLessThan(60)
  })

  test("are never another batch's, and never change under a caller", () => {
    const plans = createLinePlans()
    const deps = { operator, ids, egress, plans }
    const line = lineOf({})
    const keys = ['sk-one', 'sk-two'].map((key) => {
      const made = planOfLine(line, { api_key: key }, context, deps)
      made.plan.max_attempts = 1
      return made.bundles?.[0]?.api_key
    })
    expect(keys).toEqual(['sk-one', 'sk-two'])
    const defaults = { api_key: 'sk-one' }
    planOfLine(line, defaults, context, deps).plan.max_attempts = 1
    expect(planOfLine(line, defaults, context, deps).plan.max_attempts).not.toBe(1)
  })
})

function outcomeOf(call: () => unknown): unknown {
  try {
    return call()
  } catch (error) {
    return String(error)
  }
}
