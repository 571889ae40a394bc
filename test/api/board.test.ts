import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { appRoutes } from '@bull-board/api/dist/routes.js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BOARD_PATH, createBoard } from '../../api/board.ts'
import { JOBS_QUEUE, openQueue } from '../../shared/jobs/queues.ts'
import { createKeys } from '../../shared/keys.ts'
import { MASTER_KEY, startApi, type TestApi } from './fixture.ts'

/** What nobody may read on the page. */
const CANARY = 'canary-of-an-entry'
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

let api: TestApi
let entry: string

beforeAll(async () => {
  api = await startApi()
  const { redis, keys } = api.store
  const queue = openQueue(JOBS_QUEUE, redis, keys)
  const { id = '' } = await queue.add('jobs', { mark: CANARY })
  entry = `${keys.queuePrefix}:${JOBS_QUEUE}:${id}`
  await redis.hset(entry, { failedReason: CANARY, stacktrace: `["${CANARY}"]`, returnvalue: `"${CANARY}"` })
  await queue.close()
})

afterAll(() => api?.close())

type Method = (typeof METHODS)[number]

function ask(path: string, { method = 'GET', ...headers }: { method?: Method; authorization?: string } = {}) {
  return api.app.inject({ method, url: `${BOARD_PATH}${path}`, headers })
}

const asMaster = { authorization: `Bearer ${MASTER_KEY}` }
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`

test('only the master key opens it, as a bearer or as the password of anybody; all else gets one 401', async () => {
  const { key } = await api.apiKeys.create('acme', { scopes: ['submit', 'read', 'admin'] })
  const refused = [
    undefined,
    'Bearer sk-wrong',
    `Bearer ${key}`,
    basic(`admin:${key}`),
    basic('admin:sk-wrong'),
    basic(MASTER_KEY.slice(0, -1)),
    basic(''),
    'Basic !',
  ]
  const answers = await Promise.all(
    refused.map((authorization) => ask('', authorization === undefined ? {} : { authorization })),
  )
  const told = answers.map(({ statusCode, body, headers }) => {
    const { 'x-request-id': _id, date: _date, ...others } = headers
    return JSON.stringify([statusCode, body, others])
  })
  expect(answers[0]?.statusCode).toBe(401)
  expect(answers[0]?.headers['www-authenticate']).toMatch(/^Basic /)
  expect(new Set(told).size).toBe(1)

  for (const authorization of [asMaster.authorization, basic(`admin:${MASTER_KEY}`)]) {
    expect((await ask('', { authorization })).statusCode).toBe(200)
  }
})

test('it shows how many entries there are, and nothing of what they hold', async () => {
  const list = await ask('/api/queues?activeQueue=jobs&page=1&jobsPerPage=10', asMaster)
  const one = await ask(`/api/queues/jobs/${entry.split(':').at(-1)}`, asMaster)
  const { queues } = list.json<{ queues: { name: string; counts: object; jobs: object[] }[] }>()
  expect(queues.map(({ name }) => name)).toEqual(['jobs', 'batches', 'batch-checks', 'webhooks'])
  expect(queues[0]).toMatchObject({ counts: { waiting: 1 }, readOnlyMode: true })
  expect(queues[0]?.jobs).toHaveLength(1)
  expect(one.json()).toMatchObject({ status: 'waiting', job: { name: 'jobs' } })
  expect(`${list.body} ${one.body}`).not.toContain(CANARY)
})

test('no route of it changes anything, by any method', async () => {
  const before = await contents()
  const id = entry.split(':').at(-1) ?? ''
  const paths = appRoutes.api
    .flatMap(({ route }) => route)
    .map((route) =>
      route
        .replace(':queueName', 'jobs')
        .replace(':jobId', id)
        .replace(':queueStatus', 'failed')
        .replace(':schedulerId', 'x'),
    )
  expect(paths.length).toBeGreaterThan(30)
  const answers = await Promise.all(
    paths.flatMap((path) =>
      METHODS.map(async (method) => [method, await ask(path, { method, ...asMaster })] as const),
    ),
  )
  for (const [method, { statusCode, body }] of answers) {
    if (method !== 'GET') expect(statusCode).toBe(404)
    expect(body).not.toContain(CANARY)
  }
  expect(await contents()).toEqual(before)
})

test('its page fetches nothing from elsewhere, and is forbidden to', async () => {
  const page = await ask('', asMaster)
  expect(page.headers['content-security-policy']).toMatch(/^default-src 'self'; /)
  expect(page.headers['content-security-policy']).not.toMatch(/https?:|\*|script-src[^;]*unsafe/)
  expect(page.headers['cache-control']).toBe('no-store')
  const addresses = [...page.body.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address = '']) => address)
  expect(addresses.filter((address) => /^(https?:)?\/\//.test(address))).toEqual([])
  const parts = addresses.filter((address) => address.startsWith('static/') && /\.(js|css)$/.test(address))
  expect(parts.length).toBeGreaterThan(2)
  const answers = await Promise.all(parts.map((part) => ask(`/${part}`, asMaster)))
  expect(answers.map(({ statusCode }) => statusCode)).toEqual(parts.map(() => 200))
  expect((await ask(`/${parts[0]}`)).statusCode).toBe(401)
})

test('each shard has its queues on it', async () => {
  const { redis, prefix } = api.store
  const board = createBoard({ redis, shards: [createKeys(prefix, 's0'), createKeys(prefix, 's1')] })
  const serve = await board.load()
  const server = createServer(serve)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const answer = await fetch(`http://127.0.0.1:${port}${BOARD_PATH}/api/queues`)
  const { queues } = (await answer.json()) as { queues: { name: string }[] }
  expect(queues.map(({ name }) => name).filter((name) => name.endsWith('jobs'))).toEqual(['0-jobs', '1-jobs'])
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await board.close()
})

/** All that BullMQ holds here. */
async function contents(): Promise<unknown[]> {
  const { redis, keys } = api.store
  const names = (await redis.keys(`${keys.queuePrefix}:*`)).toSorted()
  return Promise.all(names.map(async (name) => [name, (await redis.dumpBuffer(name))?.toString('hex')]))
}
