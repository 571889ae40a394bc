import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { batchesOf, inputLine, lineOf, type TestBatches } from '../support/batches.ts'
import { dumpFolder, dumpRedis } from '../support/dump.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import { ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

/** Of each tenant's batch. `TEST_BATCH_LINES=1000 npx vitest run test/e2e/batch-keys.test.ts` takes longer. */
const LINES = Number(process.env.TEST_BATCH_LINES ?? 300)
/** Calls that are answered before those that are held. */
const ANSWERED = LINES / 2
const KEY_BYTES = 32
/** In every key, name of a line, prompt and answer; what must be found nowhere. */
const SECRET = 'canary'
/** What must be found, or else the search is blind. */
const MARK = 'plain-mark-R5vB'
const TENANTS = ['acme', 'globex'] as const

const nameOf = (number: number) => `${SECRET}-line-${number}`
const keyOf = (tenant: string, number: number) => `sk-${SECRET}-${tenant}-${number}-8fK2`
const isCredential = (name: string) => ['user_config', 'api_key', 'api_base'].includes(name)

describe.skipIf(!isPossible)(`two tenants, each with a batch of ${LINES} lines and as many keys`, () => {
  let redis: RedisProcess
  let provider: TestProvider
  let gateway: Gateway

  beforeAll(async () => {
    redis = await startRedis('everysec')
    provider = await startProvider()
    // Longer than a busy machine stands still: no call is given up, and made again, for that.
    const env = { LOG_LEVEL: 'trace', GATEWAY_LEASE_MS: '10000', GATEWAY_LOCK_MS: '12000' }
    gateway = await startGateway({ redisUrl: redis.url, workers: 2, env })
    await gateway.redis.config('SET', 'auto-aof-rewrite-percentage', '0')
  })

  afterAll(async () => {
    await gateway?.stop()
    await provider?.close()
    await redis?.stop()
  })

  /** In one of the four ways in which a line can bring its key; some of the lines are of customers. */
  function lineWithKey(tenant: string, number: number) {
    const [name, key, base] = [nameOf(number), keyOf(tenant, number), `${provider.url}/v1`]
    const user_config = ownConfig({ url: provider.url, key })
    const customer = number % 3 === 0 ? { customer: `user-${number % 7}` } : {}
    switch (number % 4) {
      case 0:
        return inputLine(name, { user_config, ...customer })
      case 1:
        return inputLine(name, customer, { user_config })
      case 2:
        return inputLine(name, { api_key: key, api_base: base, ...customer }, { model: 'gpt-test' })
      default:
        return inputLine(name, customer, { model: 'gpt-test', api_key: key, api_base: base })
    }
  }

  const linesOf = (tenant: string) =>
    Array.from({ length: LINES }, (_, number) => lineWithKey(tenant, number))

  /** Live data, files of Redis, files of batches and all output so far. */
  async function everything(): Promise<Buffer> {
    await gateway.redis.save()
    const files = gateway.env['GATEWAY_FILES']?.replace('file:', '') ?? ''
    return Buffer.concat([
      await dumpRedis(gateway.redis),
      await dumpFolder(redis.folder),
      await dumpFolder(files),
      Buffer.from(gateway.logs()),
    ])
  }

  async function runBatch(tenant: string, batches: TestBatches) {
    const file = await batches.upload(linesOf(tenant))
    const { id } = await batches.create(file.id, { metadata: { mark: MARK } })
    return { tenant, batches, file, id }
  }

  test('each key is used for its own line alone, is readable nowhere, and is gone with the end of its line', async () => {
    await gateway.redis.config('SET', 'rdbcompression', 'no')
    const held = gate()
    provider.answer((entry) => ({
      ...completion(`${SECRET}-answer to ${lineOf(entry)}`),
      ...(entry.number > ANSWERED ? { until: held.opened } : {}),
    }))
    const runs = await Promise.all(
      TENANTS.map(async (tenant) => runBatch(tenant, batchesOf(gateway, await gateway.tenantKey(tenant)))),
    )
    await eventually(
      'some lines are done, some wait for their answers, and some for their turn',
      () => provider.ledger.length > ANSWERED + 50 && provider.open() === provider.ledger.length - ANSWERED,
    )
    expectNoSecret(await everything())
    await eventually('the keys of what is done are gone, and no others', async () => {
      const counts = await Promise.all(runs.map(({ id, batches }) => countKeys(id, batches)))
      // One of them may have begun when the other had all the answers.
      const done = counts.reduce((sum, one) => sum + one.done, 0)
      return done === ANSWERED && counts.every((one) => one.done + one.kept === LINES)
    })

    held.open()
    for (const { tenant, id, batches, file } of runs) {
      const batch = await batches.ended(id)
      expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: LINES, failed: 0 } })
      const { output } = await batches.results(batch)
      for (const { custom_id: name, response } of output)
        expect(JSON.stringify(response?.body)).toContain(`answer to ${name}"`)

      expect(await gateway.redis.exists(gateway.keys.batchKeys(id), gateway.keys.fileKeys(file.id))).toBe(0)
      expect(await batches.content(file.id)).toBe(erased(linesOf(tenant)))
      await expect(batches.create(file.id)).rejects.toMatchObject({
        status: 400,
        code: 'credentials_required',
      })
    }
    expectNoSecret(await everything())

    const calls = provider.ledger.map((entry) => `${entry.key} ${lineOf(entry)}`)
    const expected = TENANTS.flatMap((tenant) =>
      Array.from({ length: LINES }, (_, number) => `${keyOf(tenant, number)} ${nameOf(number)}`),
    )
    expect(calls.toSorted()).toEqual(expected.toSorted())
  })

  /** How many lines are done, and of how many lines the keys are still there. */
  async function countKeys(id: string, batches: TestBatches) {
    const { request_counts: counts } = await batches.read(id)
    const packed = (await gateway.redis.getBuffer(gateway.keys.batchKeys(id))) ?? Buffer.alloc(0)
    const all = Array.from({ length: packed.length / KEY_BYTES }, (_, line) =>
      packed.subarray(line * KEY_BYTES, (line + 1) * KEY_BYTES),
    )
    return { done: counts.completed, kept: all.filter((key) => key.some((byte) => byte !== 0)).length }
  }
})

/** The lines as they were sent, but for what is credentials. */
function erased(lines: readonly object[]): string {
  const text = lines.map((line) =>
    JSON.stringify(line, (name, value: unknown) => (isCredential(name) ? '[erased]' : value)),
  )
  return text.map((row) => `${row}\n`).join('')
}

function expectNoSecret(bytes: Buffer): void {
  const at = bytes.indexOf(SECRET)
  expect(at < 0 ? '' : bytes.subarray(Math.max(0, at - 60), at + 60).toString('latin1')).toBe('')
  expect(bytes.includes(MARK)).toBe(true)
}
