import { readFile } from 'node:fs/promises'
import { fillFromEnvironment, parseYaml } from '../shared/settings/config-text.ts'
import { ConfigError } from '../shared/errors.ts'
import { isObject } from '../shared/settings/notes.ts'
import type { Environment } from './settings.ts'

/** What the options of `submit` and of `batches retry` have in common. */
export type BatchOptions = {
  userConfig?: string
  apiKeyEnv?: string
  /** Only to be refused: a key is no argument. */
  apiKey?: unknown
  model?: string
  window?: string
  concurrency?: number
  maxErrors?: number
  ordered?: boolean
  metadata?: Record<string, string>
  webhook?: string
}

/**
 * The fields of a new batch that the options stand for, credentials among them.
 * @throws {ConfigError} when they can't be read; it never quotes a key, nor what may be one.
 */
export async function readBatchFields(
  options: BatchOptions,
  environment: Environment,
): Promise<Record<string, unknown>> {
  const { userConfig, apiKeyEnv, model, window, concurrency, maxErrors, ordered, metadata, webhook } = options
  if (options.apiKey !== undefined) {
    throw new ConfigError(
      'A key is not taken as an argument: it would stay in the history of the shell, and in the list of processes. Put it into a variable and give its name with --api-key-env, or into a file for --user-config.',
    )
  }
  if (userConfig !== undefined && apiKeyEnv !== undefined) {
    throw new ConfigError('Give --user-config or --api-key-env, not both.')
  }
  const fields = {
    user_config: userConfig === undefined ? undefined : await readUserConfig(userConfig, environment),
    api_key: apiKeyEnv === undefined ? undefined : readKey(apiKeyEnv, environment),
    model,
    completion_window: window,
    concurrency,
    max_errors: maxErrors,
    ordered_output: ordered,
    metadata,
    webhook: webhook === undefined ? undefined : { url: webhook },
  }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

/** A `user_config` as YAML or JSON, alone or under its name. `os.environ/NAME` is filled in from here: the gateway must not. */
async function readUserConfig(file: string, environment: Environment): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'no reason'
    throw new ConfigError(`${file} can't be read (${reason}).`)
  })
  const { config } = parseYaml(text, file)
  const named = config['user_config']
  const userConfig = isObject(named) ? named : config
  if (!Array.isArray(userConfig['model_list'])) {
    throw new ConfigError(`${file} must be a user_config: a mapping with a model_list.`)
  }
  return fillFromEnvironment(userConfig, 'user_config', environment)
}

function readKey(name: string, environment: Environment): string {
  const key = environment[name]
  // Whoever gives the key itself instead of a name must not find it in a log.
  if (!key)
    throw new ConfigError('--api-key-env names no variable that is set. It takes a name, not the key itself.')
  return key
}
