import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { findRedisServer } from '../../cli/find-redis.ts'
import { endSharedGateways } from './shared-gateways.ts'
import { startTopology } from './topology.ts'

/**
 * Gives every test a Redis: the one of `TEST_REDIS_URL` (it must never evict), else one started for this run, in the form that
 * `TEST_REDIS_TOPOLOGY` asks for.
 * Tests that kill Redis start their own, so they need a server even where the run's Redis is a foreign one.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'byok-test-run-'))
  project.provide('runFolder', folder)
  // Hundreds of processes load the same code: compiled once, each of them starts in less than half of the time. Test processes
  // themselves are four that start at once: they have nothing of it, and would keep what they compiled for nobody.
  process.env.TEST_COMPILE_CACHE = join(folder, 'compiled')
  const { url, stop } = await provideRedis(project)
  return async () => {
    try {
      await endSharedGateways(folder, url)
    } finally {
      await stop()
      // A process that has just ended may still have been writing.
      await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    }
  }
}

async function provideRedis(project: TestProject): Promise<{ url: string; stop: () => Promise<void> }> {
  const foreignUrl = process.env.TEST_REDIS_URL
  const server = await findServer(foreignUrl === undefined)
  project.provide('redisServer', server)
  if (foreignUrl) {
    project.provide('redisUrl', foreignUrl)
    return { url: foreignUrl, stop: async () => {} }
  }
  if (!server) throw new Error('No redis-server was found.')
  const redis = await startTopology(server, process.env.TEST_REDIS_TOPOLOGY)
  project.provide('redisUrl', redis.url)
  return { url: redis.url, stop: () => redis.stop() }
}

async function findServer(isNeeded: boolean): Promise<string | null> {
  try {
    return await findRedisServer()
  } catch (error) {
    if (isNeeded) throw error
    return null
  }
}
