import net, { type LookupFunction } from 'node:net'
import tls from 'node:tls'
import { isLocalhostName, LOOPBACK, type EgressPolicy } from '../shared/egress.ts'
import type { Resolve } from './resolve.ts'

/** Why no connection came about; nothing was sent. */
export class ConnectError extends Error {
  readonly kind: 'refused' | 'connect' | 'timeout_connect'

  constructor(kind: ConnectError['kind'], message: string) {
    super(message)
    this.name = 'ConnectError'
    this.kind = kind
  }
}

/** `GATEWAY_TEST_RESOLVE`: where a public host is really found in tests. */
export type TestTarget = { address: string; port: number }

type ConnectOptions = { hostname: string; protocol: string; port: string }
type Callback = (...result: [null, net.Socket] | [Error, null]) => void

/**
 * Makes the function that opens every outgoing socket: resolves the host, refuses unless each of its addresses is
 * allowed, and connects to these very addresses, so that a name can't change its mind between check and use. The TLS
 * name stays the host's. A null `policy` is for the operator's own bases and checks nothing.
 */
export function createConnector(options: {
  policy: EgressPolicy | null
  resolve: Resolve
  connectMs: number
  testTargets: Map<string, TestTarget>
  testCa: string | undefined
}) {
  const { policy, resolve, connectMs, testTargets, testCa } = options

  async function findAddresses(host: string, target: { port: number; isEncrypted: boolean }) {
    const isAllowed = (address: string) => policy === null || policy.isAddressAllowed(address, target)
    // `localhost` is never looked up; it means whichever loopback address is open.
    const known = isLocalhostName(host) ? LOOPBACK.filter(isAllowed) : net.isIP(host) > 0 ? [host] : null
    const addresses = known ?? (await resolve(host))
    if (addresses.length === 0 || !addresses.every(isAllowed)) {
      throw new ConnectError('refused', 'The host has an address that client-given URLs may not reach.')
    }
    return addresses
  }

  return function connect({ hostname, protocol, port }: ConnectOptions, callback: Callback): void {
    const isEncrypted = protocol === 'https:'
    const test = testTargets.get(hostname)
    const target = { port: test?.port ?? Number(port || (isEncrypted ? 443 : 80)), isEncrypted }
    let socket: net.Socket | null = null
    let isSettled = false
    const timer = setTimeout(() => {
      fail(new ConnectError('timeout_connect', `No connection within ${connectMs} ms.`))
    }, connectMs)

    function fail(error: unknown): void {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      socket?.destroy()
      callback(toConnectError(error), null)
    }

    function open(addresses: string[]): void {
      if (isSettled) return
      const common = {
        host: hostname,
        port: target.port,
        lookup: answerWith(addresses),
        autoSelectFamily: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 60_000,
      }
      const secure = {
        ...common,
        servername: net.isIP(hostname) > 0 ? '' : hostname,
        ALPNProtocols: ['http/1.1'],
      }
      const opened = isEncrypted ? tls.connect({ ...secure, ca: test && testCa }) : net.connect(common)
      socket = opened
      opened.once(isEncrypted ? 'secureConnect' : 'connect', () => {
        isSettled = true
        clearTimeout(timer)
        opened.off('error', fail)
        callback(null, opened)
      })
      opened.on('error', fail)
    }

    findAddresses(test?.address ?? hostname, target)
      .then(open)
      .catch(fail)
  }
}

/**
 * Reads `host=address:port` entries.
 * @throws {Error} for another form.
 */
export function parseTestTargets(entries: readonly string[]): Map<string, TestTarget> {
  return new Map(
    entries.map((entry) => {
      const [, host, address, port] = /^([^=]+)=\[?([^\]]+?)\]?:(\d+)$/.exec(entry) ?? []
      if (!host || !address || !port) throw new Error('GATEWAY_TEST_RESOLVE: write host=address:port')
      return [host.toLowerCase(), { address, port: Number(port) }]
    }),
  )
}

/** A lookup for net.connect that has its answer already: with several, Node tries them in turn (RFC 8305). */
function answerWith(addresses: string[]): LookupFunction {
  const records = addresses.map((address) => ({ address, family: net.isIP(address) }))
  return (_host, options, callback) => {
    const [first] = records
    if (options.all) callback(null, records)
    else callback(null, first?.address ?? '', first?.family)
  }
}

/** Only the code is kept: messages of the system name addresses that the caller may not learn. */
function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  if (code === 'ETIMEDOUT' || code === 'ETIMEOUT') {
    return new ConnectError('timeout_connect', `The connection timed out (${code}).`)
  }
  return new ConnectError('connect', `The connection failed (${code}).`)
}
