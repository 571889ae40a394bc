import fc from 'fast-check'
import { expect, test } from 'vitest'
import { InvalidRequestError } from '../../shared/errors.ts'
import { operatorOf, planOf } from './plan-support.ts'

/** Of the dearest of them; `TEST_PROPERTY_RUNS=5000` looks at more. */
const RUNS = Number(process.env['TEST_PROPERTY_RUNS'] ?? 600)

// Every key and base tells whose it is: `sk-cfg-3` and `h3.example` are those of entry 3 and of model `m3`.
const ENTRIES = 6
const GROUPS = ['g0', 'g1', 'g2', 'vendor/g3']
const NAMES = [...GROUPS, 'gpt-4', 'openai/gpt-4.1', 'groq/llama', 'op-1', 'g1-alias', 'nobody']

const name = fc.constantFrom(...NAMES)
const group = fc.constantFrom(...GROUPS)
const table = fc.array(
  fc.tuple(fc.constantFrom(...GROUPS, '*'), fc.array(group, { minLength: 1, maxLength: 3 })),
  { maxLength: 4 },
)
const object = fc.record({
  model: name,
  isKeyed: fc.boolean(),
  isBased: fc.boolean(),
  isRewriting: fc.boolean(),
  /** Only where a property says so: most requests with it are refused. */
  isOrganized: fc.constant<boolean>(false),
})
const list = fc.oneof(
  fc.constant({ kind: 'none' as const }),
  fc.record({ kind: fc.constant('names' as const), names: fc.array(name, { maxLength: 3 }) }),
  fc.record({ kind: fc.constant('maps' as const), maps: table }),
  fc.record({
    kind: fc.constant('objects' as const),
    objects: fc.array(object, { minLength: 1, maxLength: 4 }),
  }),
)
type Given = typeof list extends fc.Arbitrary<infer Value> ? Value : never
const scenario = fc.record({
  source: fc.constantFrom('config', 'key', 'operator'),
  groups: fc.array(group, { minLength: ENTRIES, maxLength: ENTRIES }),
  tables: fc.record({
    fallbacks: table,
    context_window_fallbacks: table,
    content_policy_fallbacks: table,
  }),
  optIns: fc.constantFrom<string[]>([], ['api_key'], ['api_key', 'api_base']),
  model: name,
  given: fc.record({ fallbacks: list, context_window_fallbacks: list, content_policy_fallbacks: list }),
})
type Scenario = typeof scenario extends fc.Arbitrary<infer Value> ? Value : never

const mapsOf = (entries: readonly (readonly [string, string[]])[]) =>
  entries.map(([from, to]) => ({ [from]: to }))

/** A config of these entries whose keys and hosts begin with a word. */
function configOf({ groups, tables, optIns }: Scenario, word: string) {
  const open = word === 'op' ? { configurable_clientside_auth_params: optIns } : {}
  const model_list = groups.map((model_name, index) => {
    const own = { api_key: `sk-${word}-${index}`, api_base: `https://${word}${index}.example/v1` }
    return { model_name, litellm_params: { model: `openai/${word}-m${index}`, ...own, ...open } }
  })
  const known = (names: string[]) => names.filter((one) => one === '*' || groups.includes(one))
  const router = Object.entries(tables).map(([key, entries]) => {
    const kept = entries.filter(([from, to]) => known([from]).length > 0 && known(to).length === to.length)
    return [key, mapsOf(kept)]
  })
  return {
    model_list,
    router: { ...Object.fromEntries(router), model_group_alias: { 'g1-alias': groups[0] } },
  }
}

/** A list as a request has it; each object can be told by its `seed`, key and host. */
function listOf(given: Given, path: string): unknown {
  if (given.kind === 'none') return undefined
  if (given.kind === 'names') return given.names
  if (given.kind === 'maps') return mapsOf(given.maps)
  return given.objects.map(({ model, isKeyed, isBased, isRewriting, isOrganized }, index) => ({
    model,
    ...(isKeyed && { api_key: `sk-${path}-${index}` }),
    ...(isKeyed && isBased && { api_base: `https://${path.replaceAll('_', '-')}${index}.example/v1` }),
    ...(isOrganized && { organization: 'org' }),
    ...(isRewriting && { seed: `${path}-${index}` }),
  }))
}

function madeOf(one: Scenario) {
  const operatorConfig = configOf(one, 'op')
  const operator = operatorOf({
    model_list: operatorConfig.model_list,
    router_settings: operatorConfig.router,
  })
  const { model_list, router } = configOf(one, 'cfg')
  const lists = Object.entries(one.given).map(([path, given]) => [path, listOf(given, path)])
  const body = {
    model: one.model,
    ...Object.fromEntries(lists),
    ...(one.source === 'config' && { user_config: { model_list, ...router } }),
    ...(one.source === 'key' && { api_key: 'sk-request' }),
  }
  try {
    return planOf(body, operator)
  } catch (error) {
    if (error instanceof InvalidRequestError) return null
    throw error
  }
}

/** The object that a made-up group was made of; null for a group of a list. */
function objectOf({ given }: Scenario, groupName: string) {
  if (!groupName.startsWith('\u001f')) return null
  const [, path, index] = /^(\w+)\[(\d+)\]$/.exec(groupName.slice(1)) ?? []
  const found = Object.entries(given).find(([key]) => key === path)?.[1]
  const made = found?.kind === 'objects' ? found.objects[Number(index)] : undefined
  if (path === undefined || !made) throw new Error(`no object made ${groupName}`)
  return { ...made, id: `${path}-${index}`, host: `${path.replaceAll('_', '-')}${index}.example` }
}

/** Which key may stand in a bundle, by its own model and by the object it came from. */
function keyOf(one: Scenario, groupName: string, model: string): string {
  const made = objectOf(one, groupName)
  if (made?.isKeyed === true) return `sk-${made.id}`
  if (one.source === 'key') return 'sk-request'
  return `sk-cfg-${model.slice('cfg-m'.length)}`
}

let planned = 0

test('each bundle has the key and base it came with, and no override of another hop', () => {
  fc.assert(
    fc.property(scenario, (one) => {
      const made = madeOf(one)
      if (!made) return
      planned += 1
      const { plan, bundles } = made
      if (bundles === null) {
        expect(plan.deployments.every(({ operator_id }) => operator_id !== undefined)).toBe(true)
        return
      }
      expect(bundles).toHaveLength(plan.deployments.length)
      for (const [index, bundle] of bundles.entries()) {
        const deployment = plan.deployments[index]
        if (!deployment) throw new Error('a bundle without a deployment')
        const hop = objectOf(one, deployment.group)
        expect(bundle.overrides).toEqual(hop?.isRewriting === true ? { seed: hop.id } : undefined)
        expect(JSON.stringify(bundle)).not.toContain('sk-op')
        expect([bundle.provider, bundle.model]).toEqual([deployment.provider, deployment.model])
        if (deployment.operator_id !== undefined) {
          expect([one.source, bundle.api_key, bundle.api_base]).toEqual(['operator', null, null])
          continue
        }
        expect(bundle.api_key).toBe(keyOf(one, deployment.group, bundle.model))
        const host = new URL(bundle.api_base ?? '').host
        const usual = { openai: 'api.openai.com', groq: 'api.groq.com' }[bundle.provider]
        const [, word, entry] = /^(cfg|op)-m(\d)$/.exec(bundle.model) ?? []
        const own = word === undefined ? usual : `${word}${entry}.example`
        expect(host).toBe(hop?.isKeyed === true && hop.isBased ? hop.host : own)
      }
    }),
    { numRuns: RUNS },
  )
  // Most of what is made up here is refused; what is left must still be enough.
  expect(planned).toBeGreaterThan(RUNS / 10)
})

test("a plan of a client's own credentials has nothing of the operator's but what he opened for them", () => {
  fc.assert(
    fc.property(scenario, (one) => {
      const made = madeOf({ ...one, optIns: [] })
      if (!made || made.plan.source === 'operator') return
      expect(JSON.stringify([made.plan, made.bundles])).not.toMatch(/sk-op|op-m\d|op\d\.example|operator/)
    }),
    { numRuns: 200 },
  )
})

test("a plan that starts with a client's own key or config never leads to the operator's key, whatever he opened", () => {
  const objects = fc.array(
    fc.record({
      model: fc.constantFrom('g0', 'g1-alias', 'gpt-4'),
      isKeyed: fc.boolean(),
      isBased: fc.constant(false),
      isRewriting: fc.boolean(),
      isOrganized: fc.constant(true),
    }),
    { minLength: 1, maxLength: 3 },
  )
  fc.assert(
    fc.property(scenario, objects, fc.constantFrom('config', 'key'), (one, hops, source) => {
      const fallbacks = { kind: 'objects' as const, objects: hops }
      const none = { kind: 'none' as const }
      const given = { fallbacks, context_window_fallbacks: none, content_policy_fallbacks: none }
      const made = madeOf({ ...one, source, given, optIns: ['api_key', 'organization'] })
      for (const { operator_id: id, owner_id: owner } of made?.plan.deployments ?? []) {
        expect([id, owner === 'operator']).toEqual([undefined, false])
      }
    }),
    { numRuns: 200 },
  )
})

test('every group that a table names has a deployment, and is reached', () => {
  fc.assert(
    fc.property(scenario, (one) => {
      const made = madeOf(one)
      if (!made) return
      const { plan } = made
      const groups = new Set(plan.deployments.map(({ group: of }) => of))
      const tables = [
        plan.fallbacks,
        plan.context_window_fallbacks ?? {},
        plan.content_policy_fallbacks ?? {},
      ]
      for (const entries of tables) {
        for (const [from, to] of Object.entries(entries)) {
          expect(from === '*' || groups.has(from)).toBe(true)
          expect(to.filter((target) => !groups.has(target))).toEqual([])
        }
      }
      const named = new Set(tables.flatMap((entries) => Object.values(entries).flat()))
      expect([...groups].filter((of) => of !== plan.group && !named.has(of))).toEqual([])
      const labelled = Object.keys(plan.group_names ?? {})
      expect(labelled).toEqual([...groups].filter((of) => of.startsWith('\u001f')))
      const rewriting = labelled.filter((of) => objectOf(one, of)?.isRewriting === true)
      expect(plan.rewriting_groups ?? []).toEqual(rewriting)
    }),
    { numRuns: 300 },
  )
})
