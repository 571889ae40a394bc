import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import {
  completion,
  failure,
  startProvider,
  type LedgerEntry,
  type TestProvider,
} from '../support/provider.ts'

/** `TEST_JOBS=2000 npx vitest run test/e2e/keys-never-cross.test.ts` takes longer. */
const JOBS = Number(process.env.TEST_JOBS ?? 500)
const SUBMITTERS = 24

/** Where a key belongs: one tenant's customer, one provider, one model. */
type Place = { key: string; tenant: string; customer: string; provider: number; model: string }

let providers: TestProvider[]
let operators: TestProvider
let gateway: Gateway
let tenantKeys: Record<string, string>

beforeAll(async () => {
  providers = await Promise.all([startProvider(), startProvider(), startProvider()])
  operators = await startProvider()
  gateway = await startGateway({
    workers: 2,
    env: { WORKER_CONCURRENCY: '100', OPERATOR_KEY: 'operator-key', OPENAI_API_KEY: 'environment-key' },
    config: `
model_list:
  - model_name: "house"
    litellm_params: { model: "openai/house", api_key: os.environ/OPERATOR_KEY, api_base: "${operators.url}/v1" }
  - model_name: "*"
    litellm_params: { model: "openai/*", api_key: os.environ/OPERATOR_KEY, api_base: "${operators.url}/v1" }
router_settings:
  default_fallbacks: ["house"]
`,
  })
  tenantKeys = { acme: await gateway.tenantKey('acme'), globex: await gateway.tenantKey('globex') }
})

afterAll(async () => {
  await gateway?.stop()
  await Promise.all([...(providers ?? []), operators].map((one) => one?.close()))
})

/** Every customer has three keys: one at each provider. */
const places: Place[] = ['acme', 'globex'].flatMap((tenant) =>
  // Both tenants have customers of the same names.
  ['ann', 'bob', 'cat'].flatMap((customer) =>
    [0, 1, 2].map((provider) => ({
      key: `sk-${tenant}-${customer}-${provider}`,
      tenant,
      customer,
      provider,
      model: `model-${tenant}-${customer}-${provider}`,
    })),
  ),
)

/** A config with a first choice and a fallback, each with its own key at its own provider. */
function configOf(first: Place, second: Place) {
  const deployment = (group: string, place: Place) => ({
    model_name: group,
    litellm_params: {
      model: `openai/${place.model}`,
      api_key: place.key,
      api_base: `${providers[place.provider]?.url}/v1`,
    },
  })
  return {
    model_list: [deployment('first', first), deployment('second', second)],
    fallbacks: [{ first: ['second'] }],
    num_retries: 0,
    disable_cooldowns: true,
  }
}

test(`no key of ${JOBS} interleaved jobs of two tenants is ever seen at the wrong place`, async () => {
  for (const provider of providers) {
    // A seventh of the jobs fails at its first deployment and goes on to its own second one.
    provider.answer((entry) =>
      isSeventh(promptOf(entry)) && promptOf(entry).includes(`first ${entry.key} `)
        ? failure(500, 'down')
        : completion(`to ${promptOf(entry)} by ${entry.key}`),
    )
  }

  const jobs: { id: string; first: Place; second: Place; prompt: string }[] = []
  let next = 0
  async function submitSome(): Promise<void> {
    while (next < JOBS) {
      const number = next
      next += 1
      const first = places[number % places.length] as Place
      const own = places.filter(
        ({ tenant, customer }) => tenant === first.tenant && customer === first.customer,
      )
      const second = own[(first.provider + 1) % own.length] as Place
      const prompt = `#${number} of ${first.tenant}/${first.customer} first ${first.key} `
      const answer = await gateway.call('POST', '/v1/jobs', {
        key: tenantKeys[first.tenant],
        headers: { 'x-litellm-customer-id': first.customer },
        body: {
          endpoint: '/v1/chat/completions',
          body: {
            model: 'first',
            messages: [{ role: 'user', content: prompt }],
            user_config: configOf(first, second),
          },
        },
      })
      expect(answer.status, answer.text).toBe(202)
      jobs.push({ id: (answer.json as Job).id, first, second, prompt })
    }
  }
  await Promise.all(Array.from({ length: SUBMITTERS }, submitSome))

  const calls = () => providers.flatMap(({ ledger }) => ledger)
  const expected = JOBS + Math.ceil(JOBS / 7)
  await eventually('all calls are made', () => calls().length >= expected)

  // Each key: only at its own provider, for its own model, in a job of its own tenant and customer.
  const byKey = new Map(places.map((place) => [place.key, place]))
  const strays = providers.flatMap(({ ledger }, provider) =>
    ledger.filter((entry) => {
      const place = byKey.get(entry.key ?? '')
      const isOwn = promptOf(entry).includes(` of ${place?.tenant}/${place?.customer} `)
      return !place || place.provider !== provider || place.model !== entry.model || !isOwn
    }),
  )
  expect(strays).toEqual([])
  expect(operators.ledger).toEqual([])

  // And each job has its own answer, by the key it was to be answered with.
  const wrong: string[] = []
  let checked = 0
  async function checkSome(): Promise<void> {
    while (checked < jobs.length) {
      const { id, first, second, prompt } = jobs[checked++] as (typeof jobs)[number]
      const key = tenantKeys[first.tenant]
      const job = await gateway.ended(id, { key })
      const answerer = isSeventh(prompt) ? second.key : first.key
      const text = JSON.stringify(job.response?.body)
      if (!text?.includes(`to ${prompt} by ${answerer}`) || job.customer !== first.customer) wrong.push(id)
    }
  }
  await Promise.all(Array.from({ length: SUBMITTERS }, checkSome))
  expect(wrong).toEqual([])
  expect(calls()).toHaveLength(expected)
})

test('a client’s plan never ends at an operator’s deployment, whatever fails', async () => {
  for (const provider of providers) provider.answer(() => failure(500, 'down'))
  const [place] = places as [Place]
  const own = {
    model: `openai/${place.model}`,
    api_key: place.key,
    api_base: `${providers[place.provider]?.url}/v1`,
  }
  const bodies = [
    // Its own fallbacks are used up; the operator has default_fallbacks and a "*" group.
    {
      model: 'mine',
      user_config: { model_list: [{ model_name: 'mine', litellm_params: own }], num_retries: 0 },
    },
    // The group's name is one of the operator's.
    {
      model: 'house',
      user_config: { model_list: [{ model_name: 'house', litellm_params: own }], num_retries: 0 },
    },
    // A bare credential whose model only "*" would match.
    { ...own, model: place.model, num_retries: 0 },
  ]
  for (const body of bodies) {
    const messages = [{ role: 'user', content: 'hello' }]
    const { id } = await gateway.submit({ ...body, messages })
    expect(await gateway.ended(id), JSON.stringify(body.model)).toMatchObject({ status: 'failed' })
  }
  expect(operators.ledger).toEqual([])
})

test('an operator’s key is used for the operator’s groups alone, and at its own base', async () => {
  operators.answer(() => completion('from the house'))
  const { id } = await gateway.submit({ model: 'house', messages: [{ role: 'user', content: 'hello' }] })
  expect(await gateway.ended(id)).toMatchObject({ status: 'completed' })
  expect(operators.ledger.map(({ key, model }) => ({ key, model }))).toEqual([
    { key: 'operator-key', model: 'house' },
  ])
})

function isSeventh(prompt: string): boolean {
  return Number(/#(\d+)/.exec(prompt)?.[1]) % 7 === 0
}

function promptOf(entry: LedgerEntry): string {
  const { messages } = entry.body as { messages?: { content?: string }[] }
  return messages?.[0]?.content ?? ''
}
