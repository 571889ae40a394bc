import { once } from 'node:events'
import { createApiKeys, type ApiKeys } from '../shared/api-keys.ts'
import { ConfigError } from '../shared/errors.ts'
import { createKeys } from '../shared/keys.ts'
import { createLog } from '../shared/log.ts'
import { createRedis } from '../shared/redis.ts'
import { findEmbeddedRedis } from './embedded-redis.ts'
import { readFolders, type Environment } from './settings.ts'

const DEFAULT_KEY_PREFIX = 'byok'

type Terminal = { environment: Environment; print: (text: string) => void }

/** Makes a tenant's gateway key and prints it on a line of its own, and nothing else, for scripts. */
export async function createKey(
  options: { tenant: string; name?: string },
  terminal: Terminal,
): Promise<void> {
  await withApiKeys(terminal.environment, async (apiKeys) => {
    const { key } = await apiKeys.create(options.tenant, options.name ?? null)
    terminal.print(`${key}\n`)
  })
}

/** Prints a line for each key that works: id, tenant, hint, when it was made, name; tabs between. */
export async function listKeys(terminal: Terminal): Promise<void> {
  await withApiKeys(terminal.environment, async (apiKeys) => {
    for (const key of await apiKeys.list()) {
      const madeAt = new Date(key.created_at * 1000).toISOString()
      terminal.print(`${[key.id, key.tenant, key.hint, madeAt, key.name ?? ''].join('\t').trimEnd()}\n`)
    }
  })
}

/**
 * Ends a key.
 * @throws {ConfigError} when there is none with this id.
 */
export async function revokeKey(id: string, terminal: Terminal): Promise<void> {
  await withApiKeys(terminal.environment, async (apiKeys) => {
    if (!(await apiKeys.revoke(id))) throw new ConfigError(`No key has the id ${id}. "keys list" shows them.`)
    terminal.print(`${id} is revoked.\n`)
  })
}

/** On the Redis of `REDIS_URL`, else on that of the gateway that runs on the data folder. */
async function withApiKeys(
  environment: Environment,
  work: (apiKeys: ApiKeys) => Promise<void>,
): Promise<void> {
  const { dataDir } = readFolders(environment)
  const url = environment.REDIS_URL || (await findEmbeddedRedis(dataDir))
  if (!url) {
    const message = `No gateway runs on the data folder ${dataDir}.`
    throw new ConfigError(
      `${message} Start it (npm start), or set GATEWAY_DATA_DIR or REDIS_URL to the right one.`,
    )
  }
  const redis = createRedis(url, 'commands', createLog('silent', 'keys'))
  try {
    await once(redis, 'ready').catch((error: unknown) => {
      throw new ConfigError(`Redis can't be reached: ${error instanceof Error ? error.message : 'no reason'}`)
    })
    await work(
      createApiKeys({ redis, keys: createKeys(environment.GATEWAY_KEY_PREFIX || DEFAULT_KEY_PREFIX) }),
    )
  } finally {
    redis.disconnect()
  }
}
