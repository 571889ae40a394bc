import { ConfigError } from '../shared/errors.ts'
import { readMadeKey } from './local-keys.ts'
import { readFolders, type Environment } from './settings.ts'

const DEFAULT_URL = 'http://127.0.0.1:4000'

/** Which gateway is called, without a slash at the end, and with which of its keys. */
export type ClientSettings = { url: string; key: string }

/**
 * From `GATEWAY_URL` and `GATEWAY_API_KEY`. Without the latter a gateway on this machine is called with the key of its
 * one-machine mode; no other gateway is ever sent that.
 * @throws {ConfigError} when there is no key, or the address is none.
 */
export async function readClientSettings(environment: Environment): Promise<ClientSettings> {
  const address = readAddress(environment.GATEWAY_URL || DEFAULT_URL)
  const url = address.href.replace(/\/+$/, '').replace(/\/v1$/, '')
  const key = environment.GATEWAY_API_KEY || (await localKey(address, environment))
  if (!key) throw new ConfigError(`Set GATEWAY_API_KEY to a key of the gateway at ${url}.`)
  return { url, key }
}

function readAddress(text: string): URL {
  const address = URL.parse(text)
  if (!address || !/^https?:$/.test(address.protocol)) {
    throw new ConfigError(`GATEWAY_URL must be an address such as ${DEFAULT_URL}.`)
  }
  if (address.username !== '' || address.password !== '' || address.search !== '' || address.hash !== '') {
    throw new ConfigError('GATEWAY_URL must be an address alone: the key goes into GATEWAY_API_KEY.')
  }
  return address
}

async function localKey({ hostname }: URL, environment: Environment): Promise<string | null> {
  if (!/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)) return null
  return environment.GATEWAY_MASTER_KEY || (await readMadeKey(readFolders(environment).keysDir))
}
