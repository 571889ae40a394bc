import { networkInterfaces } from 'node:os'
import ipaddr from 'ipaddr.js'
import { embeddedIpv4, isMetadataAddress, isMetadataName, isNeverReachable, isPublic } from './addresses.ts'
import type { Address } from './addresses.ts'
import { ConfigError, InvalidRequestError } from './errors.ts'

/** A listener that no client-given URL may reach, whatever is opened: the gateway itself, or its Redis. */
export type ForbiddenTarget = { host: string; port: number }

/** What a URL may hold beyond scheme, host, port and path. */
type UrlRules = {
  /** Webhook targets carry queries; a provider base must not, since paths are appended and keys hide there. */
  allowQuery?: boolean
  /** `general_settings.allowed_client_hosts`: `host` or `*.suffix`, each with an optional `:port`. Null: any host. */
  allowedHosts?: string[] | null
}

const URL_CHARACTERS_MAX = 2048
const REDIS_PORT = 6379

/**
 * Decides where a URL that a client gave may lead. Public addresses over https are open; private ones (plain http
 * included) only where `allowedCidrs` opens them; metadata services, link-local and multicast addresses and the
 * `forbidden` listeners never. `checkUrl` gives the early 400, `isAddressAllowed` decides at each connect: a name is
 * only known to be safe once it is an address.
 * @throws {ConfigError} for a CIDR that is none.
 */
export function createEgressPolicy(options: {
  allowedCidrs: string[]
  /** Where `allowedCidrs` come from, for those who are refused. */
  setting?: string
  forbidden?: ForbiddenTarget[]
}) {
  const { forbidden = [], setting = 'GATEWAY_ALLOWED_CIDRS' } = options
  const cidrs = options.allowedCidrs.map((text) => parseCidr(text, setting))

  function isOpened(address: Address): boolean {
    return cidrs.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits))
  }

  function isForbidden(address: Address, port: number): boolean {
    return forbidden.some((target) => target.port === port && coversAddress(target.host, address))
  }

  function isAllowed(address: Address, port: number, isEncrypted: boolean): boolean {
    if (isNeverReachable(address) || isMetadataAddress(address) || isForbidden(address, port)) return false
    const inner = embeddedIpv4(address)
    if (inner) return isOpened(address) && isAllowed(inner, port, isEncrypted)
    return isOpened(address) || (isEncrypted && isPublic(address))
  }

  /** Whether a socket may be opened to this address: the check at connect, on what a name resolved to. */
  function isAddressAllowed(address: string, target: { port: number; isEncrypted: boolean }): boolean {
    const parsed = parseAddress(address)
    return parsed !== null && isAllowed(parsed, target.port, target.isEncrypted)
  }

  function checkHost(url: URL, param: string): void {
    const target = { port: effectivePort(url), isEncrypted: url.protocol === 'https:' }
    const host = hostOf(url)
    // The URL parser has turned every spelling of an address into digits or colons, so a name is told by its letters.
    const isAddress = /^[\d.]+$|:/.test(host) && ipaddr.isValid(host)
    const literals = isLocalhostName(host) ? LOOPBACK : isAddress ? [host] : null
    if (literals) {
      if (literals.some((literal) => isAddressAllowed(literal, target))) return
      const isMendedByTls = literals.some((literal) =>
        isAddressAllowed(literal, { ...target, isEncrypted: true }),
      )
      if (isMendedByTls) throw refuse(param, 'must use https')
      throw refuse(
        param,
        `leads to a private or reserved address, which only the operator can open (${setting})`,
      )
    }
    const isOwn = forbidden.some(({ host: own, port }) => own.toLowerCase() === host && port === target.port)
    if (isOwn || isMetadataName(host)) {
      throw refuse(param, 'leads to a host that client-given URLs may not reach')
    }
    // A name over plain http is judged by its addresses at connect; without any opened network it can't pass there.
    if (!target.isEncrypted && cidrs.length === 0) throw refuse(param, 'must use https')
  }

  /**
   * Parses a client-given URL and refuses what can't be right before anything is resolved. The returned URL is the
   * one to connect with: it is never parsed a second time by other rules.
   * @throws {InvalidRequestError} with `param`; the message never repeats the URL, which may carry a key.
   */
  function checkUrl(url: string, param: string, rules: UrlRules = {}): URL {
    const parsed = parseUrl(url, param)
    if (parsed.username || parsed.password) throw refuse(param, 'must not contain a user name or password')
    if (url.includes('#')) throw refuse(param, 'must not contain a fragment (#)')
    if (!rules.allowQuery && url.includes('?')) throw refuse(param, 'must not contain a query (?)')
    if (parsed.hostname.endsWith('.')) throw refuse(param, 'must name a host without a dot at its end')
    checkHost(parsed, param)
    if (rules.allowedHosts && !rules.allowedHosts.some((pattern) => matchesHost(pattern, parsed))) {
      throw refuse(param, 'leads to a host that the operator does not allow (allowed_client_hosts)')
    }
    return parsed
  }

  return { checkUrl, isAddressAllowed }
}

export type EgressPolicy = ReturnType<typeof createEgressPolicy>

/** What `localhost` and `*.localhost` mean; they are never looked up (RFC 6761, section 6.3). */
export const LOOPBACK = ['127.0.0.1', '::1']

/** Whether a host name means this machine by RFC 6761. */
export function isLocalhostName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost')
}

/** A URL's host as an address or name: without the brackets of IPv6. */
function hostOf(url: URL): string {
  return url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname
}

/** A URL's port, its scheme's default when it names none. */
function effectivePort(url: URL): number {
  return url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
}

/**
 * The listeners to forbid in every process: where the API listens, and every Redis node of `REDIS_URL`. Of sentinels and
 * clusters only some nodes are named, so Redis's usual port is forbidden beside each host's own.
 */
export function ownTargets(listen: ForbiddenTarget, redisUrl: string): ForbiddenTarget[] {
  const [scheme = '', rest = ''] = redisUrl.split('://')
  if (scheme === 'unix') return [listen]
  const defaultPort = scheme === 'redis+sentinel' ? 26_379 : REDIS_PORT
  const nodes = (rest.split(/[/?]/)[0] ?? '').split(',').map((node) => {
    const address = /^(?:.*@)?(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(node)
    const host = (address?.[1] ?? '').replace(/^\[(.*)\]$/, '$1')
    return { host: host === '' ? 'localhost' : host, port: Number(address?.[2] ?? defaultPort) }
  })
  if (scheme.startsWith('redis+')) {
    const unnamed = nodes
      .filter(({ port }) => port !== REDIS_PORT)
      .map(({ host }) => ({ host, port: REDIS_PORT }))
    return [listen, ...nodes, ...unnamed]
  }
  return [listen, ...nodes]
}

/**
 * Whether a forbidden listener may be behind this address. A local one is reachable by every address of this machine;
 * a name (a container's, say) is taken to be any address that is not public, and so is a listener on every address:
 * from a container the machine around it, or another way in, is not among the addresses of its own.
 */
function coversAddress(host: string, address: Address): boolean {
  if (isLocalhostName(host)) return isOwnMachine(address)
  const own = parseAddress(host)
  if (own === null) return !isPublic(address)
  if (own.range() === 'unspecified') return !isPublic(address) || isOwnMachine(address)
  if (isOwnMachine(own)) return isOwnMachine(address)
  return own.toNormalizedString() === address.toNormalizedString()
}

function isOwnMachine(address: Address): boolean {
  if (address.range() === 'loopback' || address.range() === 'unspecified') return true
  const text = address.toNormalizedString()
  const interfaces = Object.values(networkInterfaces()).flat()
  return interfaces.some((item) => item && parseAddress(item.address)?.toNormalizedString() === text)
}

function parseAddress(text: string): Address | null {
  // A zone (`fe80::1%eth0`) picks an interface of ours: nothing a client may do.
  if (text.includes('%') || !ipaddr.isValid(text)) return null
  return ipaddr.process(text)
}

function parseCidr(text: string, setting: string): [Address, number] {
  try {
    if (text.includes('/')) return ipaddr.parseCIDR(text)
    const address = ipaddr.parse(text)
    return [address, address.kind() === 'ipv4' ? 32 : 128]
  } catch {
    throw new ConfigError(`${setting}: "${text}" is no network; write it like 10.0.0.0/8 or fd00::/8.`)
  }
}

function parseUrl(url: string, param: string): URL {
  if (url.length > URL_CHARACTERS_MAX)
    throw refuse(param, `must not be longer than ${URL_CHARACTERS_MAX} characters`)
  // WHATWG parsing would mend all of these silently: spaces, controls, backslashes, a missing `//`.
  const isPlain = !/[\s\\]|\p{Cc}/u.test(url) && /^https?:\/\/[^/]/i.test(url)
  const parsed = isPlain ? URL.parse(url) : null
  if (!parsed || parsed.hostname === '') throw refuse(param, 'must be an absolute http(s) URL')
  return parsed
}

function matchesHost(pattern: string, url: URL): boolean {
  const [, host = '', port] = /^(.*?)(?::(\d+))?$/.exec(pattern.toLowerCase()) ?? []
  if (port !== undefined && Number(port) !== effectivePort(url)) return false
  if (host.startsWith('*.')) return url.hostname.endsWith(host.slice(1))
  return url.hostname === host
}

function refuse(param: string, what: string): InvalidRequestError {
  return new InvalidRequestError(`\`${param}\` ${what}.`, param, 'url_not_allowed')
}
