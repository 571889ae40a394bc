import { afterAll, expect, test } from 'vitest'
import { ConfigError } from '../../shared/errors.ts'
import { createIds } from '../../shared/ids.ts'
import { createKeys } from '../../shared/keys.ts'
import { claimShards, ofTenant, readShards, shardKeys } from '../../shared/shards.ts'
import { createTenants, joinTenants } from '../../shared/tenants/tenants.ts'
import { testRedis } from '../support/redis.ts'

const SLOTS = 16_384
const own = testRedis()
const { redis } = own
afterAll(() => own.cleanup())

/** Places of the shards' slots among all, from 0 to 1; Redis hashes a key's tag alike whether it is a cluster or not. */
function placesOf(count: number): number[] {
  return shardKeys('any', count).map(({ window }) => slotOf(/\{(.*)\}/.exec(window)?.[1] ?? '') / SLOTS)
}

// By the table-free definition in Redis' cluster specification, of whose example `123456789` is 0x31C3.
function slotOf(tag: string): number {
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      const isSet = ((crc >> 15) ^ (byte >> bit)) & 1
      crc = ((crc << 1) ^ (isSet ? 0x1021 : 0)) & 0xffff
    }
  }
  return crc % SLOTS
}

test('the slots of shards are spread so that nodes with equal ranges have equally many', () => {
  expect(slotOf('123456789')).toBe(0x31c3 % SLOTS)
  for (const [nodes, count] of [
    [3, 3],
    [3, 12],
    [6, 12],
    [4, 16],
    [8, 64],
  ] as const) {
    const perNode = new Map<number, number>()
    for (const place of placesOf(count)) {
      const node = Math.floor(place * nodes)
      perNode.set(node, (perNode.get(node) ?? 0) + 1)
    }
    expect([...perNode.values()], `${count} on ${nodes}`).toEqual(
      Array.from({ length: nodes }, () => count / nodes),
    )
  }
})

test('one shard has the keys of an installation from before there were shards', () => {
  expect(shardKeys('any', 1).map(({ window }) => window)).toEqual([createKeys('any').window])
})

test('a tenant stays where it is, and tenants are spread evenly', () => {
  const shards = [0, 1, 2, 3]
  // By hand: the first four bytes of sha256('acme'), modulo the shards.
  expect(ofTenant(shards, 'acme')).toBe(0x822b33ad % 4)
  const names = Array.from({ length: 4_000 }, (_, number) => `tenant-${number}`)
  const perShard = Map.groupBy(names, (name) => ofTenant(shards, name))
  for (const shard of shards) expect(Math.abs((perShard.get(shard)?.length ?? 0) - 1_000)).toBeLessThan(150)
})

test('whoever comes first says how many shards there are, of many at once, too', async () => {
  const keys = createKeys(`${own.prefix}:first`)
  expect(await readShards(redis, keys)).toBeNull()
  const said = await Promise.allSettled([2, 3, 4, 5].map((count) => claimShards(redis, keys, count)))
  const refused = said.filter(({ status }) => status === 'rejected')
  expect(refused).toHaveLength(3)
  const count = Number(await readShards(redis, keys))
  await claimShards(redis, keys, count)
  await expect(claimShards(redis, keys, count + 1)).rejects.toThrow(ConfigError)
  await expect(claimShards(redis, keys, count + 1)).rejects.toThrow(`set GATEWAY_SHARDS=${count}`)
})

test('what was there before shards is one of them', async () => {
  const keys = createKeys(`${own.prefix}:old`)
  await redis.set(keys.aofRewrite, 1)
  await expect(claimShards(redis, keys, 3)).rejects.toThrow('set GATEWAY_SHARDS=1')
  await claimShards(redis, keys, 1)
})

test('a list of tenants of all shards goes on behind each of them, also where two were made in one moment', async () => {
  const ids = createIds('a secret of this test')
  const shards = shardKeys(`${own.prefix}:list`, 3)
  const tenants = joinTenants(shards.map((keys) => createTenants({ redis, keys, ids })))
  const names = Array.from({ length: 8 }, (_, number) => `t${number}`)
  await Promise.all(names.map((id) => tenants.create(id)))
  for (const [number, id] of names.entries()) {
    await redis.zadd(ofTenant(shards, id).tenantIndex, 1_000 + Math.floor(number / 4), id)
  }
  const listed: string[] = []
  for (let after: string | undefined; ; after = listed.at(-1)) {
    const page = await tenants.list({ after, limit: 3 })
    listed.push(...(page?.tenants ?? []).map(({ id }) => id))
    if (!page?.hasMore) break
  }
  expect(listed).toEqual(names.toReversed())
  expect(await tenants.list({ after: 'nobody', limit: 3 })).toBeNull()
  await expect(tenants.create('t1', { name: 'Another' })).rejects.toThrow('There is a tenant t1 already')
})
