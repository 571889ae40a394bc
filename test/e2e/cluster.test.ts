import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ofTenant, shardKeys } from '../../shared/shards.ts'
import { runEveryForm } from '../support/every-form.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { startProcess } from '../support/processes.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { ownRedis, redisCommand } from '../support/redis.ts'
import { startRedisCluster, type RedisCluster } from '../support/redis-cluster.ts'
import { ask, ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: a cluster, since ${reason}`)

const SHARDS = 3
/** One of a shard each. */
const TENANTS = tenantsOfEachShard()

describe.runIf(isPossible)('a Redis Cluster whose nodes share the tenants', () => {
  let cluster: RedisCluster
  let stage: { gateway: Gateway; provider: TestProvider; receiver: TestReceiver }
  beforeAll(async () => {
    cluster = await startRedisCluster(redisCommand(), { replicas: 1, nodeTimeoutMs: 3_000 })
    const [provider, receiver] = [await startProvider(), await startReceiver()]
    const gateway = await startGateway({
      redisUrl: cluster.url,
      env: { GATEWAY_SHARDS: String(SHARDS), PROVIDER_BASE: `${provider.url}/v1` },
      config: OPERATOR,
    })
    stage = { gateway, provider, receiver }
  })
  afterAll(async () => {
    await stage?.gateway.stop()
    await Promise.all([stage?.provider.close(), stage?.receiver.close()])
    await cluster?.stop()
  })

  test('all of a tenant lies on one node, and works there in every form', async () => {
    const { gateway } = stage
    const nodes = new Set<number>()
    for (const tenant of TENANTS) {
      const key = await gateway.tenantKey(tenant)
      const ids = await runEveryForm(stage, { key, name: tenant })
      const keys = ofTenant(shardKeys(gateway.prefix, SHARDS), tenant)
      const node = await cluster.masterOf(keys.window)
      nodes.add(node.port)
      for (const id of ids) expect(await node.redis.exists(keys.job(id))).toBe(1)
      const stranger = await gateway.tenantKey(TENANTS.find((other) => other !== tenant) ?? '')
      expect((await gateway.call('GET', `/v1/jobs/${ids[0]}`, { key: stranger })).status).toBe(404)
    }
    expect(nodes.size).toBe(SHARDS)
  })

  test('the master key makes tenants of all shards, reads what they used, and lists them in the order of their making', async () => {
    const { gateway } = stage
    const made = Array.from({ length: 5 }, (_, number) => `made-${number}`)
    for (const id of made) {
      expect((await gateway.call('POST', '/admin/tenants', { body: { id } })).status).toBe(200)
    }
    const listed: string[] = []
    for (let after = ''; ;) {
      const page = await gateway.call('GET', `/admin/tenants?limit=2${after}`)
      const { data, has_more: hasMore, last_id: lastId } = page.json as TenantPage
      listed.push(...data.map(({ id }) => id))
      if (!hasMore) break
      after = `&after=${lastId}`
    }
    expect(listed).toEqual(made.toReversed())
    const used = async (tenant: string) => (await gateway.call('GET', `/admin/tenants/${tenant}/usage`)).text
    for (const tenant of TENANTS) {
      await eventually(`what ${tenant} used is summed up`, async () =>
        /"requests":[1-9]/.test(await used(tenant)),
      )
    }
  })

  test('places of one deployment are handed on from shard to shard', async () => {
    const { gateway, provider } = stage
    provider.ledger.length = 0
    provider.answer(() => ({ ...completion('one at a time'), delayMs: 20 }))
    const keys = await Promise.all(TENANTS.map((tenant) => gateway.tenantKey(tenant)))
    const calls = keys
      .flatMap((key) => [key, key])
      .map((key) =>
        gateway.call('POST', '/v1/chat/completions', { key, body: { model: 'narrow', messages: MESSAGES } }),
      )
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(calls.map(() => 200))
    const inOrder = provider.ledger.toSorted((a, b) => a.startedAt - b.startedAt)
    for (const [at, next] of inOrder.slice(1).entries()) {
      expect(inOrder[at]?.endedAt).toBeLessThanOrEqual(next.startedAt)
    }
  })

  test('another number of shards is refused at the start, and told which one holds', async () => {
    const { gateway } = stage
    const env = { ...gateway.env, GATEWAY_SHARDS: '2' }
    const api = startProcess(process.execPath, ['api/main.ts'], { env })
    expect(await api.ended()).toBe(1)
    expect(api.output()).toContain(`set GATEWAY_SHARDS=${SHARDS}`)
  })

  test('a slot that moves to another node is found there, and work goes on', async () => {
    const { gateway } = stage
    const [tenant = ''] = TENANTS
    const { window } = ofTenant(shardKeys(gateway.prefix, SHARDS), tenant)
    const before = await cluster.masterOf(window)
    const to = await cluster.masterOf(ofTenant(shardKeys(gateway.prefix, SHARDS), TENANTS[1] ?? '').window)
    await cluster.moveSlot(window, to)
    expect(await cluster.masterOf(window)).not.toBe(before)
    await runEveryForm(stage, { key: await gateway.tenantKey(tenant), name: 'moved' })
  })

  test('when a node dies its replica has the accepted jobs, and they end', async () => {
    const { gateway, provider } = stage
    const tenant = TENANTS[2] ?? ''
    const key = await gateway.tenantKey(tenant)
    const keys = ofTenant(shardKeys(gateway.prefix, SHARDS), tenant)
    const node = await cluster.masterOf(keys.window)
    const held = gate()
    provider.ledger.length = 0
    provider.answer(async () => {
      await held.opened
      return completion('after all')
    })
    const config = ownConfig({ url: provider.url, key: 'sk-across' })
    const running = await gateway.submit(ask(config), {}, key)
    await eventually('its call is made', () => provider.ledger.length === 1)
    const waiting = await gateway.submit(ask(config), { delay: 1 }, key)
    // It waits for what its own connection wrote, and for all that was written before that.
    await node.redis.set(keys.fsyncMark, 1, 'PX', 60_000)
    await eventually('the replica has it all', async () => (await node.redis.wait(1, 1_000)) > 0)
    await node.kill()
    held.open()
    for (const { id } of [running, waiting]) {
      expect(await gateway.ended(id, { key })).toMatchObject({ status: 'completed' })
    }
    await node.restart()
  })
})

const MESSAGES = [{ role: 'user', content: 'Say this is a test' }]
const OPERATOR = `
model_list:
  - model_name: narrow
    litellm_params:
      model: openai/gpt-test
      api_key: sk-of-the-operator
      api_base: os.environ/PROVIDER_BASE
      max_parallel_requests: 1
`

type TenantPage = { data: { id: string }[]; has_more: boolean; last_id: string | null }

function tenantsOfEachShard(): string[] {
  const names = Array.from({ length: 100 }, (_, number) => `tenant-${number}`)
  const shards = Array.from({ length: SHARDS }, (_, shard) => shard)
  return shards.map((shard) => names.find((name) => ofTenant(shards, name) === shard) ?? '')
}
