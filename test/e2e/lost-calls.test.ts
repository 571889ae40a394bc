import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import Anthropic from '@anthropic-ai/sdk'
import type { ChatCompletionChunk } from 'openai/resources/chat/completions'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SDKS } from '../support/clients.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startProcess } from '../support/processes.ts'
import { chunks, completion } from '../support/provider.ts'
import { missingPythonSdk, PYTHON } from '../support/python.ts'
import { environment } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'
import { freshKey, gateway, provider, useGateway } from '../support/stage.ts'

const HOLD_MS = 1_500

useGateway({ env: { GATEWAY_SYNC_HOLD_MS: String(HOLD_MS) } })

/** What stands before the API processes of a real installation: connections that a client opens go to the one that is up. */
async function startBalancer() {
  const open = new Set<Socket>()
  let count = 0
  let target = gateway.url
  const server = createServer((client) => {
    count += 1
    const upstream = createConnection(Number(new URL(target).port), '127.0.0.1')
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => {
        open.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.pipe(upstream).pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    for (const socket of open) socket.destroy()
  }
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** From now on connections go there. */
    lead(url: string) {
      target = url
    },
    /** How many connections clients have opened. */
    count: () => count,
    /** Breaks all of them. */
    cut,
    async close() {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

let balancer: Awaited<ReturnType<typeof startBalancer>>
beforeAll(async () => {
  balancer = await startBalancer()
})
afterAll(() => balancer.close())

const config = () => ownConfig({ url: provider.url, key: freshKey() }, { num_retries: 0 })
const clients = () =>
  SDKS.map(({ make }) => make({ baseURL: balancer.url, apiKey: gateway.masterKey, maxRetries: 6 }))
type Client = ReturnType<typeof clients>[number]

const complete = (client: Client, content: string, own = config()) =>
  client.chat.completions.create({ ...ask(own, content), stream: false } as never).withResponse()
const textOf = (data: unknown) =>
  (data as ReturnType<typeof completion>['body']).choices.map(({ message }) => message.content).join('')

async function readStream(client: Client, content: string): Promise<string> {
  const body = { ...ask(config(), content), stream: true as const }
  const stream = await client.chat.completions.create(body as never)
  let text = ''
  for await (const { choices } of stream as unknown as AsyncIterable<ChatCompletionChunk>) {
    text += choices[0]?.delta.content ?? ''
  }
  return text
}

/** Breaks calls off while the provider works on them, and lets it answer when one of them was sent again. */
async function breakDuring(
  calls: number,
  answer: { open: () => void },
  breakOff: () => void | Promise<void>,
): Promise<void> {
  await eventually('the provider is called', () => provider.ledger.length >= calls)
  const before = balancer.count()
  await breakOff()
  await eventually('a call is sent again', () => balancer.count() > before).finally(answer.open)
}

const keptCalls = async () => (await gateway.redis.keys(gateway.keys.orphans('*'))).length

test('when an API process is killed, every SDK tries again by itself and gets the answer of the one upstream call, a stream from its first piece on', async () => {
  const { api, url } = gateway
  await gateway.replaceApi()
  const answer = gate()
  const told = chunks('One', ' time')
  provider.answer(({ body }) =>
    body['stream'] === true
      ? { ...told, events: [answer.opened, ...told.events] }
      : { ...completion('once'), until: answer.opened },
  )
  balancer.lead(url)
  const all = clients()
  const [plain, streams] = await Promise.all([
    Promise.all(all.map((client) => complete(client, 'killed'))),
    Promise.all(all.map((client) => readStream(client, 'killed too'))),
    breakDuring(2 * all.length, answer, () => {
      balancer.lead(gateway.url)
      api.kill('SIGKILL')
    }),
  ])
  expect(plain.map(({ data }) => textOf(data))).toEqual(all.map(() => 'once'))
  expect(plain.map(({ response }) => response.headers.get('x-job-attached'))).toEqual(all.map(() => 'true'))
  expect(streams).toEqual(all.map(() => 'One time'))
  expect(provider.ledger).toHaveLength(2 * all.length)
})

test('a stream that its SDK has read to its end is not found again, though the SDK hangs up at its last event', async () => {
  provider.answer(() => chunks('One', ' time'))
  const before = await keptCalls()
  // Straight to the API, so that it hears at once that the client is gone.
  const direct = SDKS.map(({ make }) => make({ baseURL: `${gateway.url}/v1`, apiKey: gateway.masterKey }))
  const reads = direct.flatMap((client) =>
    Array.from({ length: 10 }, (_, at) => readStream(client, `read ${at}`)),
  )
  const texts = await Promise.all(reads)
  expect(texts).toEqual(texts.map(() => 'One time'))
  await eventually('nothing more is kept to be found again', async () => (await keptCalls()) <= before)
})

test('a call that takes several holds is asked for again by its SDK, and made once', async () => {
  const answer = gate()
  provider.answer(() => ({ ...completion('at last'), until: answer.opened }))
  setTimeout(answer.open, 1.5 * HOLD_MS)
  const answers = await Promise.all(clients().map((client) => complete(client, 'long')))
  expect(answers.map(({ data }) => textOf(data))).toEqual(answers.map(() => 'at last'))
  for (const { response } of answers) expect(response.headers.get('x-job-attached')).toBe('true')
  expect(provider.ledger).toHaveLength(answers.length)
})

test('equal calls at once are calls of their own', async () => {
  provider.answer(({ number }) => completion(`answer ${number}`))
  const same = config()
  const answers = await Promise.all(clients().map((client) => complete(client, 'twice', same)))
  expect(new Set(answers.map(({ data }) => textOf(data)))).toEqual(new Set(['answer 1', 'answer 2']))
})

test('Anthropic’s SDK, whose connection breaks, gets the answer of the one upstream call', async () => {
  const answer = gate()
  provider.answer(() => ({ ...completion('hello'), until: answer.opened }))
  const anthropic = new Anthropic({ baseURL: balancer.url, apiKey: gateway.masterKey, maxRetries: 6 })
  const body = { ...ask(config(), 'cut'), max_tokens: 10 }
  const [message] = await Promise.all([
    anthropic.messages.create(body as never),
    breakDuring(1, answer, balancer.cut),
  ])
  expect(message).toMatchObject({ type: 'message', content: [{ type: 'text', text: 'hello' }] })
  expect(provider.ledger).toHaveLength(1)
})

const reason = missingPythonSdk()
if (reason) console.log(`skipped: the Python SDK is not tested, since ${reason}`)

const PROGRAM = `
import json, openai, os
client = openai.OpenAI(api_key=os.environ["KEY"], base_url=os.environ["URL"], max_retries=6)
body = json.loads(os.environ["BODY"])
extra = {"user_config": body.pop("user_config")}
print(client.chat.completions.create(**body, extra_body=extra).choices[0].message.content)
`

test.skipIf(reason)(
  'Python’s SDK, whose connection breaks, gets the answer of the one upstream call',
  async () => {
    const answer = gate()
    provider.answer(() => ({ ...completion('from python'), until: answer.opened }))
    const run = startProcess(PYTHON, ['-c', PROGRAM], {
      env: {
        ...environment(),
        KEY: gateway.masterKey,
        URL: balancer.url,
        BODY: JSON.stringify(ask(config(), 'python')),
      },
    })
    const [code] = await Promise.all([run.ended(), breakDuring(1, answer, balancer.cut)])
    expect(code, run.output()).toBe(0)
    expect(run.output().trim()).toBe('from python')
    expect(provider.ledger).toHaveLength(1)
  },
)
