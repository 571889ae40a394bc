import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Allowed } from '../../shared/tenants/allowed.ts'
import { createBatchInput } from '../../shared/batches/batch-input.ts'
import { createLinePlans } from '../../shared/batches/line-plans.ts'
import { validateBatch } from '../../worker/batch-validation.ts'
import { egress, ids, operatorOf } from '../shared/plan-support.ts'
import { openInputStage, type InputStage } from '../support/batch-input.ts'

const operator = operatorOf({
  model_list: [{ model_name: 'house', litellm_params: { model: 'openai/gpt-4o', api_key: 'sk-house' } }],
})
const LIMITS = { linesMax: 50_000, lineBytesMax: 1024 * 1024 }

let stage: InputStage
beforeEach(async () => {
  stage = await openInputStage()
})
afterEach(() => stage.close())

type Around = {
  endpoint?: string
  allowed?: Allowed
  defaults?: Record<string, unknown>
  limits?: Partial<typeof LIMITS>
  signal?: AbortSignal
  input?: InputStage['input']
}
type Uploaded = Awaited<ReturnType<InputStage['upload']>>

function validate({ file, keysOf }: Uploaded, around: Around = {}) {
  const { endpoint = '/v1/chat/completions', defaults = {}, limits = {}, input = stage.input } = around
  return validateBatch(
    {
      file,
      context: { tenant: 'acme', customer: null, endpoint, allowed: around.allowed },
      defaults,
      keys: keysOf,
      limits: { ...LIMITS, ...limits },
      ...(around.signal && { signal: around.signal }),
    },
    { operator, ids, egress, plans: createLinePlans(), stored: { open: async () => null }, input },
  )
}

/** Uploads rows and validates them. */
async function verdictOf(rows: readonly string[], around?: Around) {
  return validate(await stage.upload(rows.join('\n')), around)
}

async function errorsOf(rows: readonly string[], around?: Around) {
  const verdict = await verdictOf(rows, around)
  if (verdict.kind === 'valid') throw new Error('nothing was refused')
  return verdict.errors.map(({ line, code, param }) => [line, code, param])
}

function lineOf(customId: unknown, body: Record<string, unknown> = {}, beside: Record<string, unknown> = {}) {
  const whole = { model: 'house', messages: [{ role: 'user', content: 'hi' }], ...body }
  return JSON.stringify({
    custom_id: customId,
    method: 'POST',
    url: '/v1/chat/completions',
    ...beside,
    body: whole,
  })
}

describe('a valid input', () => {
  test('tells its lines, and its model when all have the same', async () => {
    expect(await verdictOf([lineOf('a'), '', lineOf('b'), ''])).toEqual({
      kind: 'valid',
      lines: 2,
      model: 'house',
    })
    const mixed = [lineOf('a'), lineOf('b', { model: 'openai/gpt-4o', api_key: 'sk-own' })]
    expect(await verdictOf(mixed)).toEqual({ kind: 'valid', lines: 2, model: null })
  })

  test('may be of several endpoints where the batch has none of its own', async () => {
    const embedding = JSON.stringify({
      custom_id: 'b',
      url: '/v1/embeddings',
      body: { model: 'openai/text-embedding-3-small', input: 'x', api_key: 'sk-own' },
    })
    const moderation = JSON.stringify({
      custom_id: 'c',
      url: '/v1/moderations',
      body: { input: 'x', api_key: 'sk-own' },
    })
    expect((await verdictOf([lineOf('a'), embedding, moderation], { endpoint: '*' })).kind).toBe('valid')
  })

  test('has a thousand keys, each for its own line', async () => {
    const rows = Array.from({ length: 1000 }, (_, one) =>
      lineOf(`r${one}`, { model: 'openai/gpt-4o', api_key: `sk-${one}` }),
    )
    expect(await verdictOf(rows)).toEqual({ kind: 'valid', lines: 1000, model: 'openai/gpt-4o' })
  })
})

describe('an input is refused, with the row of each line that is at fault', () => {
  test('by what is wrong with it', async () => {
    const rows = [
      '\uFEFF',
      lineOf('a'),
      '{"custom_id": "b", }',
      '["no", "request"]',
      lineOf(undefined),
      lineOf(7),
      lineOf(''),
      lineOf('c', { model: undefined }),
      lineOf('d', { messages: [] }),
      lineOf('a'),
      '  ',
      lineOf('e', {}, { url: '/v1/embeddings' }),
      lineOf('f', { stream: true }),
      lineOf('g', {}, { method: 'GET' }),
      lineOf('h', {}, { body: undefined }).replace(/,"body".*$/, '}'),
      lineOf('i', { model: 'nobodys' }),
      lineOf('j', { user_config: { model_list: [] } }),
      lineOf('k', { api_key: '[erased]' }),
      lineOf('l', { __proto__x: 1 }).replace('__proto__x', '__proto__'),
      lineOf('m').replace('"hi"', `${'['.repeat(200)}${']'.repeat(200)}`),
    ]
    expect(await errorsOf(rows)).toEqual([
      [3, 'invalid_json_line', null],
      [4, 'invalid_json_line', null],
      [5, 'missing_required_parameter', 'custom_id'],
      [6, 'invalid_request', 'custom_id'],
      [7, 'invalid_request', 'custom_id'],
      [8, 'missing_required_parameter', 'body.model'],
      [9, 'invalid_request', 'body.messages'],
      [10, 'duplicate_custom_id', 'custom_id'],
      [12, 'mismatched_url', 'url'],
      [13, 'unsupported_stream', 'body.stream'],
      [14, 'invalid_request', 'method'],
      [15, 'missing_required_parameter', 'body'],
      [16, 'model_not_found', 'body.model'],
      [17, 'invalid_request', 'body.user_config.model_list'],
      [18, 'credentials_required', 'body.api_key'],
      [19, 'invalid_json_line', null],
      [20, 'invalid_json_line', null],
    ])
  })

  test('when its text is not UTF-8, or a line is too long', async () => {
    const bad = Buffer.concat([
      Buffer.from(`${lineOf('a')}\n{"custom_id":"`),
      Buffer.from([0xc3, 0x28]),
      Buffer.from('"}\n'),
    ])
    const uploaded = await stage.upload(
      Buffer.concat([bad, Buffer.from(lineOf('b', { user: 'x'.repeat(500) }))]),
      {
        limits: { lineBytesMax: 400 },
      },
    )
    const verdict = await validate(uploaded, { limits: { lineBytesMax: 400 } })
    expect(verdict).toMatchObject({
      errors: [
        { line: 2, code: 'invalid_utf8' },
        { line: 3, code: 'line_too_large', message: expect.stringContaining('400 bytes') },
      ],
    })
  })

  test('when a line is longer than is allowed by now', async () => {
    expect(
      await errorsOf([lineOf('a', { user: 'x'.repeat(500) })], { limits: { lineBytesMax: 400 } }),
    ).toEqual([[1, 'line_too_large', null]])
  })

  test('when it is empty, or has too many lines', async () => {
    for (const rows of [[], ['', '  ', '\t']]) {
      expect(await errorsOf(rows)).toEqual([[null, 'empty_file', null]])
    }
    const rows = ['a', 'b', 'c'].map((one) => lineOf(one))
    expect(await errorsOf(rows, { limits: { linesMax: 2 } })).toEqual([[null, 'too_many_lines', null]])
    const uploaded = await stage.upload(rows.join('\n'), { limits: { linesMax: 2 } })
    const verdict = await validate(uploaded, { limits: { linesMax: 2 } })
    expect(verdict).toMatchObject({ errors: [{ code: 'too_many_lines', line: null }] })
  })

  test('when the credentials of a line are gone', async () => {
    const rows = [
      lineOf('a', { model: 'openai/gpt-4o', api_key: 'k' }),
      lineOf('b', {}, { user_config: { model_list: [] } }),
    ]
    const { keysOf: _keys, ...uploaded } = await stage.upload(rows.join('\n'))
    const verdict = await validate({ ...uploaded, keysOf: null })
    expect(verdict).toMatchObject({
      errors: [
        { line: 1, code: 'credentials_required', param: 'body.api_key' },
        { line: 2, code: 'credentials_required', param: 'user_config' },
      ],
    })
  })

  test('with a hundred errors at most, and without a word of what a line says', async () => {
    const rows = Array.from({ length: 150 }, (_, one) =>
      lineOf(`r${one}`, { timeout: 'S3CR3T', api_key: 'S3CR3T' }),
    )
    const verdict = await verdictOf([...rows, '{"api_key": "S3CR3T"'])
    expect(verdict.kind === 'invalid' && verdict.errors).toHaveLength(100)
    expect(JSON.stringify(verdict)).not.toContain('S3CR3T')
  })
})

test('what the gateway key of the batch may not ask for is refused, line by line', async () => {
  const embedding = JSON.stringify({
    custom_id: 'e',
    url: '/v1/embeddings',
    body: { model: 'house', input: 'x' },
  })
  const rows = [
    lineOf('a'),
    lineOf('b', { model: 'openai/gpt-4o', api_key: 'sk-own' }),
    lineOf('c', {}, { fallbacks: ['other'] }),
    embedding,
    // Left to the batch's defaults, which the key may not ask for either.
    lineOf('d', { model: undefined }),
  ]
  const around = {
    endpoint: '*',
    defaults: { model: 'other' },
    allowed: { models: ['house'], endpoints: ['/v1/chat/completions'] },
  }
  expect(await errorsOf(rows, around)).toEqual([
    [2, 'model_not_allowed', 'body.model'],
    [3, 'model_not_allowed', 'fallbacks[0]'],
    [4, 'endpoint_not_allowed', null],
    [5, 'model_not_allowed', 'model'],
  ])
  expect(await verdictOf(rows.slice(0, 1), around)).toMatchObject({ kind: 'valid' })
})

describe('meanwhile', () => {
  const rows = Array.from({ length: 5_000 }, (_, one) => lineOf(`r${one}`, { user: 'x'.repeat(1000) }))

  test('all else in the process gets its turns, also when the input is there at once', async () => {
    const { file, keysOf, ...rest } = await stage.upload(rows.join('\n'))
    const held = new Map<string, Buffer>()
    for (const [name, bytes] of await stage.objects()) held.set(name, bytes)
    const input = createBatchInput({
      sealer: stage.sealer,
      store: {
        ...stage.store,
        // oxlint-disable-next-line typescript/require-await -- nothing to wait for is what is tested
        async *read(name, { from = 0, to = Infinity } = {}) {
          yield held.get(name)?.subarray(from, to) ?? Buffer.alloc(0)
        },
      },
    })
    let turns = 0
    const ticking = setInterval(() => (turns += 1), 1)
    const before = process.threadCpuUsage()
    const verdict = await validate({ file, keysOf, ...rest }, { input })
    clearInterval(ticking)
    expect(verdict.kind).toBe('valid')
    const { user, system } = process.threadCpuUsage(before)
    // A turn within each 50 ms of its own time would be enough; there are more.
    expect(turns).toBeGreaterThan((user + system) / 50_000)
  })

  test('it can be ended early', async () => {
    const uploaded = await stage.upload(rows.join('\n'))
    const ended = AbortSignal.abort(new Error('the lease was lost'))
    await expect(validate(uploaded, { signal: ended })).rejects.toThrow('the lease was lost')
  })
})

test('what a line says makes no error long, however long its names are', async () => {
  const rows = Array.from({ length: 3 }, (_, one) =>
    lineOf(`r${one}`, {}, { [`${one}${'x'.repeat(100_000)}`]: 1 }),
  )
  const verdict = await verdictOf([
    ...rows,
    lineOf('deep', { user_config: { [`y${'z'.repeat(50_000)}`]: 1 } }),
  ])
  expect(verdict).toMatchObject({ errors: [{ code: 'unknown_parameter' }, {}, {}, { line: 4 }] })
  expect(JSON.stringify(verdict).length).toBeLessThan(10_000)
})
