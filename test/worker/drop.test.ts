import { expect, test } from 'vitest'
import type { DroppedParams } from '../../shared/schemas/plan.ts'
import { dropParams } from '../../worker/providers/drop.ts'

const drops = (changes: Partial<DroppedParams>): DroppedParams => ({
  unsupported: false,
  names: [],
  allowed: [],
  ...changes,
})
const GROQ = { provider: 'groq', model: 'llama' }

test('without drops a body goes on as it is, known to the provider or not', () => {
  const body = { logit_bias: { 1: 2 }, future: true }
  expect(dropParams(body, null, GROQ)).toBe(body)
  expect(dropParams(body, drops({}), GROQ)).toEqual(body)
})

test('named fields and paths are taken out, and the body itself is left alone', () => {
  const body = {
    user: 'u',
    'a.b': 1,
    response_format: { json_schema: { strict: true, schema: {} } },
    tools: [
      { function: { name: 'f', strict: true } },
      { function: { name: 'g', strict: false } },
      'odd',
      null,
    ],
    messages: [{ name: 'x', role: 'user' }, { name: 'y' }],
  }
  const before = structuredClone(body)
  const names = [
    'user',
    'response_format.json_schema.strict',
    'tools[*].function.strict',
    'messages[1].name',
    'no.such',
    'tools[*]',
    'messages[0]',
    'messages.name',
    'user[*].x',
    '',
    '.',
    '[',
    'a'.repeat(5_000),
    'a.'.repeat(500),
  ]
  expect(dropParams(body, drops({ names }), GROQ)).toEqual({
    'a.b': 1,
    response_format: { json_schema: { schema: {} } },
    tools: [{ function: { name: 'f' } }, { function: { name: 'g' } }, 'odd', null],
    messages: [{ name: 'x', role: 'user' }, {}],
  })
  expect(body).toEqual(before)
})

test('a field whose name only looks like a path is taken out by its name', () => {
  expect(dropParams({ 'a.b': 1, a: { b: 2, c: 3 } }, drops({ names: ['a.b'] }), GROQ)).toEqual({
    a: { c: 3 },
  })
})

test('names of what every object has lead nowhere', () => {
  const names = ['__proto__', 'constructor.prototype', '__proto__.toString', 'a.__proto__.x']
  expect(dropParams({ a: { b: 1 } }, drops({ names }), GROQ)).toEqual({ a: { b: 1 } })
  expect(Object.hasOwn(Object.prototype, 'toString')).toBe(true)
})

test.each([
  ['openai', 'o3-mini', ['top_p', 'temperature', 'logprobs']],
  ['azure', 'o1', ['top_p', 'temperature', 'logprobs']],
  ['openai', 'gpt-5-mini', ['top_p', 'temperature', 'stop', 'logit_bias', 'logprobs']],
  ['openai', 'gpt-5-chat-latest', []],
  ['openai', 'gpt-5.1', []],
  ['openai', 'gpt-4o', []],
  ['openai', 'o100', []],
  ['groq', 'llama', ['logit_bias', 'logprobs', 'n']],
  ['mistral', 'mistral-small', ['logit_bias', 'logprobs', 'seed', 'user']],
  ['perplexity', 'sonar', ['stop', 'logit_bias', 'logprobs', 'seed', 'user', 'n', 'tools']],
  ['cohere', 'command-a', ['logit_bias', 'user', 'n']],
  ['xai', 'grok-2', []],
  ['xai', 'grok-4', ['stop']],
  ['fireworks_ai', 'x', ['logit_bias', 'seed']],
  ['hosted_vllm', 'o3', []],
  ['no-such', 'x', []],
])('%s %s is known not to take %j', (provider, model, refused) => {
  const body = {
    messages: [],
    stream: false,
    max_tokens: 5,
    max_completion_tokens: 5,
    future: true,
    temperature: 0.5,
    top_p: 0.5,
    stop: 'x',
    logit_bias: {},
    logprobs: true,
    seed: 1,
    user: 'u',
    n: 2,
    tools: [],
  }
  const kept = dropParams(body, drops({ unsupported: true }), { provider, model })
  const gone = Object.keys(body).filter((name) => !(name in kept))
  expect(gone.toSorted()).toEqual(refused.toSorted())
})

test('a value that the provider takes is kept, and so is what is allowed', () => {
  const o3 = { provider: 'openai', model: 'o3' }
  expect(dropParams({ temperature: 1, n: 1 }, drops({ unsupported: true }), o3)).toEqual({
    temperature: 1,
    n: 1,
  })
  const allowed = drops({ unsupported: true, allowed: ['logit_bias'] })
  expect(dropParams({ logit_bias: {}, logprobs: true, n: 1 }, allowed, GROQ)).toEqual({
    logit_bias: {},
    n: 1,
  })
  const named = drops({ unsupported: true, allowed: ['logit_bias'], names: ['logit_bias'] })
  expect(dropParams({ logit_bias: {} }, named, GROQ)).toEqual({})
})
