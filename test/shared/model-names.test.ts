import { describe, expect, test } from 'vitest'
import { createModelNames } from '../../shared/settings/model-names.ts'

type Entry = { group: string; writtenModel: string; infoId: string | null }

const entry = (group: string, writtenModel: string, infoId: string | null = null): Entry => ({
  group,
  writtenModel,
  infoId,
})
const east = entry('chat', 'azure/gpt-4o', 'east')
const west = entry('chat', 'openai/gpt-4o', 'west')
const small = entry('small', 'openai/gpt-4o-mini', 'mini')
const anyGroq = entry('groq/*', 'groq/*', 'any')
const list = [east, west, small, anyGroq]

const routing = (name: string, priorities: Record<string, number>, isByPriority = true) => ({
  name,
  models: Object.keys(priorities),
  priorities: isByPriority ? new Map(Object.entries(priorities)) : null,
  path: 'routing_groups[0]',
})
const tiered = routing('tiered', { small: 2, chat: 1 })
const even = routing('even', { small: 1, 'groq/llama': 1 }, false)

const names = createModelNames(list, new Map([['fast', 'tiered']]), [tiered, even])

describe('a name is looked for as', () => {
  const found: [string, string, string, Entry[]][] = [
    ['chat', 'group', 'chat', [east, west]],
    ['groq/llama', 'wildcard', 'groq/llama', [anyGroq]],
    ['azure/gpt-4o', 'model', 'azure/gpt-4o', [east]],
    ['openai/gpt-4o-mini', 'model', 'small', [small]],
    ['west', 'id', 'west', [west]],
    ['mini', 'id', 'small', [small]],
    ['even', 'routing_group', 'even', [small, anyGroq]],
  ]
  test.each(found)('%s: %s', (name, how, group, entries) => {
    const match = names.find(name)
    expect(match).toMatchObject({ how, group })
    expect(match?.members.map((member) => member.entry)).toEqual(entries)
  })

  test.each(['nobody', 'any', 'chat*', ''])('nothing: "%s"', (name) => {
    expect(names.find(name)).toBeNull()
  })

  test('an id only when it is nothing else: each other name comes first', () => {
    for (const [group, model] of [
      ['taken', 'openai/a'],
      ['a', 'taken'],
      ['*', 'openai/*'],
    ] as const) {
      const find = createModelNames([entry('b', 'openai/b', 'taken'), entry(group, model)], new Map()).find
      expect(find('taken')?.how).not.toBe('id')
    }
  })

  test("OpenAI's, where only its provider is missing before a wildcard: a model that is known, and nothing else", () => {
    const wild = entry('openai/*', 'openai/*')
    const { find } = createModelNames([wild, entry('groq/*', 'groq/*')], new Map([['quick', 'gpt-4o-mini']]))
    const member = { entry: wild, writtenModel: 'openai/gpt-4o-mini' }
    for (const name of ['gpt-4o-mini', 'quick']) {
      expect(find(name)).toMatchObject({
        group: 'openai/gpt-4o-mini',
        pattern: 'openai/*',
        members: [member],
      })
    }
    for (const name of ['gpt-4o-mnii', 'llama', 'nobody/gpt-4o-mini']) expect(find(name)).toBeNull()
    expect(createModelNames([wild, small], new Map()).find('gpt-4o-mini')?.members).toEqual([member])
  })

  test('each deployment of an organization list has the id of the list', () => {
    const twins = [entry('a', 'openai/x', 'both'), entry('a', 'openai/x', 'both'), entry('a', 'openai/y')]
    expect(createModelNames(twins, new Map()).find('both')?.members).toHaveLength(2)
  })
})

describe('a routing group', () => {
  test('stands for the deployments of all its models, the first tier first', () => {
    expect(names.find('tiered')?.members).toEqual([
      { entry: east, writtenModel: 'azure/gpt-4o', order: 1 },
      { entry: west, writtenModel: 'openai/gpt-4o', order: 1 },
      { entry: small, writtenModel: 'openai/gpt-4o-mini', order: 2 },
    ])
    expect(names.find('fast')).toEqual(names.find('tiered'))
  })

  test('without priorities leaves each deployment its own order, and resolves wildcards', () => {
    expect(names.find('even')?.members).toEqual([
      { entry: small, writtenModel: 'openai/gpt-4o-mini' },
      { entry: anyGroq, writtenModel: 'groq/llama' },
    ])
  })

  test('holds a deployment once, in the first of its tiers', () => {
    const twice = routing('twice', { 'azure/gpt-4o': 3, chat: 2 })
    const orders = createModelNames(list, new Map(), [twice]).find('twice')?.members
    expect(orders?.map(({ entry: { infoId }, order }) => [infoId, order])).toEqual([
      ['east', 2],
      ['west', 2],
    ])
  })

  const refused: [string, ReturnType<typeof routing>[], string][] = [
    ['the name of a model group', [routing('chat', { small: 1 })], 'routing_groups[0].group_name'],
    ['the name of an alias', [routing('nick', { small: 1 })], 'routing_groups[0].group_name'],
    ['itself among its models', [routing('me', { chat: 1, me: 2 })], 'routing_groups[0].models[1]'],
    [
      'another by an alias',
      [routing('one', { nick: 1 }), { ...even, name: 'two' }],
      'routing_groups[0].models[0]',
    ],
  ]
  test.each(refused)('is refused with %s', (_what, groups, param) => {
    const make = () => createModelNames(list, new Map([['nick', 'two']]), groups)
    expect(make).toThrow(expect.objectContaining({ param }))
  })
})

test('specific_deployment sees only litellm_params.model', () => {
  expect(names.findModel('azure/gpt-4o')?.members).toEqual([{ entry: east, writtenModel: 'azure/gpt-4o' }])
  for (const name of ['chat', 'west', 'fast', 'groq/*', 'groq/llama'])
    expect(names.findModel(name)).toBeNull()
})

test('an id of the gateway names one deployment, and is worked out only for a name of that form', () => {
  const asked: string[] = []
  const idOf = ({ infoId }: Entry) => {
    asked.push(infoId ?? '')
    return `id-of-${infoId}`.padEnd(22, '_')
  }
  expect(names.findOwnId('id-of-west', idOf)).toBeNull()
  expect(asked).toEqual([])
  expect(names.findOwnId('id-of-west'.padEnd(22, '_'), idOf)).toMatchObject({
    how: 'id',
    members: [{ entry: west, writtenModel: 'openai/gpt-4o' }],
  })
  expect(names.findOwnId('id-of-any'.padEnd(22, '_'), idOf)).toBeNull()
})
