import ipaddr from 'ipaddr.js'

export type Address = ipaddr.IPv4 | ipaddr.IPv6

/**
 * Services inside clouds that hand out credentials to whoever asks from the machine.
 * @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html and its peers
 */
const METADATA = [
  '168.63.129.16/32', // Azure's host, a public address by its range
  '100.100.100.200/32', // Alibaba
  '192.0.0.192/32', // Oracle
  'fd00:ec2::/32', // AWS: instance metadata, time, name service
  'fd20:ce::254/128', // Google
  'fd00:42::42/128', // Scaleway
  'fd00:c1::a9fe:a9fe/128', // Oracle
].map((cidr) => ipaddr.parseCIDR(cidr))

const METADATA_NAMES = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'metadata.azure.internal',
  'metadata.tencentyun.com',
  'instance-data',
  'instance-data.ec2.internal',
])

const NEVER = new Set(['linkLocal', 'multicast', 'broadcast', 'unspecified', 'teredo', 'discard'])

/** Global unicast: all that IANA has given out for the public IPv6 internet. */
const GLOBAL_IPV6 = ipaddr.IPv6.parse('2000::')

/**
 * Whether an address is on the public internet. Narrower than ipaddr.js's `unicast`, which takes the old
 * IPv4-compatible `::a.b.c.d` and unassigned IPv6 space as public.
 */
export function isPublic(address: Address): boolean {
  if (address.range() !== 'unicast') return false
  return address.kind() === 'ipv4' || address.match(GLOBAL_IPV6, 3)
}

/** Addresses that hand out a machine's own credentials. Most of them, 169.254/16, are link-local besides. */
export function isMetadataAddress(address: Address): boolean {
  return METADATA.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits))
}

/** Names of the same services, refused before they are looked up. `host` in lower case, without a last dot. */
export function isMetadataName(host: string): boolean {
  return METADATA_NAMES.has(host)
}

/** Ranges where no provider and no receiver can live: not even an opened network makes them reachable. */
export function isNeverReachable(address: Address): boolean {
  return NEVER.has(address.range())
}

/**
 * The IPv4 address that an IPv6 form of the transition years leads to (compatible, translated, NAT64, 6to4, ISATAP),
 * or null. Such an address is only as reachable as the one inside.
 */
export function embeddedIpv4(address: Address): ipaddr.IPv4 | null {
  if (!(address instanceof ipaddr.IPv6)) return null
  const parts = address.parts
  const range = address.range()
  const isCompatible = parts.slice(0, 6).every((part) => part === 0) && range !== 'loopback'
  const isIsatap = parts[5] === 0x5efe && ((parts[4] ?? 0) & 0xfdff) === 0
  if (range === '6to4') return fromParts(parts[1], parts[2])
  if (isCompatible || isIsatap || range === 'rfc6052' || range === 'rfc6145') {
    return fromParts(parts[6], parts[7])
  }
  return null
}

function fromParts(high = 0, low = 0): ipaddr.IPv4 {
  return new ipaddr.IPv4([high >> 8, high & 0xff, low >> 8, low & 0xff])
}
