import { networkInterfaces } from 'node:os'
import { expect, test } from 'vitest'
import { createEgressPolicy, ownTargets } from '../../shared/egress.ts'
import { ConfigError, InvalidRequestError } from '../../shared/errors.ts'

const closed = createEgressPolicy({ allowedCidrs: [] })
const tls = { port: 443, isEncrypted: true }

/** Hosts as a client may spell them. Fullwidth digits and dots are what IDNA maps to plain ones. */
const PRIVATE_HOSTS: Record<string, string[]> = {
  loopback: [
    '127.0.0.1',
    '127.1',
    '127.0.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '017700000001',
    '0177.1',
    '127.0.0.1.',
    '127.255.255.254',
    '%31%32%37.0.0.1',
    '127.0.0.1',
    '127。0。0。1',
    '127.0.0.1',
    '①②⑦.0.0.1',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[0000::0001]',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.localhost',
  ],
  unspecified: ['0.0.0.0', '0', '0x0', '00', '0.1.2.3', '[::]', '[0::0]'],
  private: [
    '10.0.0.1',
    '10.1',
    '167772161',
    '0xa000001',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.0.1',
    '192.168.1',
    '3232235521',
  ],
  'carrier grade NAT': ['100.64.0.1', '100.127.255.254'],
  'link-local': ['169.254.1.1', '[fe80::1]', '[febf::1]'],
  metadata: [
    '169.254.169.254',
    '2852039166',
    '0xa9fea9fe',
    '0251.0376.0251.0376',
    '169.254.43518',
    '169.254.170.2',
    '168.63.129.16',
    '2822734096',
    '100.100.100.200',
    '192.0.0.192',
    '[fd00:ec2::254]',
    '[fd20:ce::254]',
    'metadata.google.internal',
    'METADATA.google.internal',
    'metadata',
    'instance-data',
  ],
  'IPv4 in IPv6': [
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[0:0:0:0:0:ffff:10.0.0.1]',
    '[::ffff:a9fe:a9fe]',
    '[::127.0.0.1]',
    '[::7f00:1]',
    '[::8.8.8.8]',
    '[::ffff:0:10.0.0.1]',
    '[64:ff9b::10.0.0.1]',
    '[64:ff9b::a9fe:a9fe]',
    '[64:ff9b:1::10.0.0.1]',
    '[2002:7f00:1::]',
    '[2002:a9fe:a9fe::1]',
    '[2001:0:4136:e378:8000:63bf:3fff:fdd2]',
    '[2001:db8::5efe:10.0.0.1]',
  ],
  'unique and site local': ['[fc00::1]', '[fd12:3456::1]', '[fec0::1]'],
  'reserved and documentation': [
    '192.0.2.1',
    '198.51.100.1',
    '203.0.113.1',
    '198.18.0.1',
    '192.88.99.1',
    '240.0.0.1',
    '255.255.255.255',
    '224.0.0.1',
    '239.255.255.255',
    '[ff02::1]',
    '[2001:db8::1]',
    '[100::1]',
    '[4000::1]',
    '[5f00::1]',
  ],
}

const PUBLIC_HOSTS = [
  '8.8.8.8',
  '134744072',
  '0x08.0x08.0x08.0x08',
  '[2606:4700:4700::1111]',
  'api.openai.com',
]

for (const [kind, hosts] of Object.entries(PRIVATE_HOSTS)) {
  test.each(hosts)(`a ${kind} address is refused however it is spelt: %s`, (host) => {
    expect(() => closed.checkUrl(`https://${host}/v1`, 'api_base')).toThrow(InvalidRequestError)
  })
}

test.each(PUBLIC_HOSTS)('a public host is let through over https: %s', (host) => {
  expect(closed.checkUrl(`https://${host}/v1`, 'api_base').protocol).toBe('https:')
})

const PUBLIC_ADDRESSES = ['8.8.8.8', '1.1.1.1', '2606:4700:4700::1111', '::ffff:8.8.8.8']

test.each(PUBLIC_ADDRESSES)('a public address may be connected to over TLS only: %s', (address) => {
  expect(closed.isAddressAllowed(address, tls)).toBe(true)
  expect(closed.isAddressAllowed(address, { port: 80, isEncrypted: false })).toBe(false)
})

test.each(['', 'nonsense', 'fe80::1%eth0', '1.2.3.4.5', '::ffff:10.0.0.1', '::ffff:7f00:1'])(
  'what a resolver may answer is refused when it is private or no address: %s',
  (address) => {
    expect(closed.isAddressAllowed(address, tls)).toBe(false)
  },
)

test.each([
  ['ftp://example.com/', /absolute http/],
  ['example.com', /absolute http/],
  ['https:example.com', /absolute http/],
  ['https:\\\\example.com', /absolute http/],
  ['https:///example.com', /absolute http/],
  ['https://exa mple.com', /absolute http/],
  ['https://example.com/a\r\nb', /absolute http/],
  ['https://exam\tple.com/', /absolute http/],
  ['https://', /absolute http/],
  ['https://user@example.com/', /user name or password/],
  ['https://user:pass@example.com/', /user name or password/],
  ['https://example.com@127.0.0.1/', /user name or password/],
  ['https://example.com/#frag', /fragment/],
  ['https://example.com#', /fragment/],
  ['https://host#.openai.azure.com/', /fragment/],
  ['https://example.com/?key=1', /query/],
  ['https://example.com/?', /query/],
  ['https://example.com./', /dot at its end/],
  ['http://example.com/', /https/],
  ['http://8.8.8.8/', /https/],
  [`https://example.com/${'a'.repeat(2048)}`, /longer than/],
])('a URL that is not plainly one is refused: %s', (url, message) => {
  expect(() => closed.checkUrl(url, 'user_config.model_list[0].litellm_params.api_base')).toThrow(message)
})

test('a refusal names the field and never repeats the URL', () => {
  for (const url of [
    'https://user:canary@h/',
    'https://10.0.0.1/canary',
    'http://h/canary',
    'https://h/?canary',
  ]) {
    const error = catchRefusal(() => closed.checkUrl(url, 'webhook.url'))
    expect(error).toMatchObject({ status: 400, param: 'webhook.url', code: 'url_not_allowed' })
    expect(JSON.stringify(error.toBody())).not.toContain('canary')
  }
})

test('an opened network is reachable, plain http included, and nothing beside it', () => {
  const policy = createEgressPolicy({
    allowedCidrs: ['127.0.0.0/8', '10.1.0.0/16', 'fd12::/16', '192.168.7.7'],
  })
  const plain = { port: 8080, isEncrypted: false }
  for (const host of [
    '127.0.0.1',
    '10.1.2.3',
    '[fd12::5]',
    '192.168.7.7',
    'localhost',
    '[::ffff:10.1.2.3]',
  ]) {
    expect(policy.checkUrl(`http://${host}:8080/v1`, 'api_base').port).toBe('8080')
  }
  for (const host of [
    '10.2.0.1',
    '[fd13::1]',
    '192.168.7.8',
    '8.8.8.8',
    '[::127.0.0.1]',
    '[64:ff9b::10.1.2.3]',
  ]) {
    expect(() => policy.checkUrl(`http://${host}:8080/v1`, 'api_base')).toThrow(InvalidRequestError)
  }
  expect(policy.checkUrl('http://vllm:8080/v1', 'api_base').hostname).toBe('vllm')
  expect(policy.isAddressAllowed('10.1.2.3', plain)).toBe(true)
  expect(policy.isAddressAllowed('8.8.8.8', plain)).toBe(false)
})

test('metadata services and link-local addresses stay closed when everything is opened', () => {
  const policy = createEgressPolicy({ allowedCidrs: ['0.0.0.0/0', '::/0'] })
  for (const host of [
    ...(PRIVATE_HOSTS['metadata'] ?? []),
    ...(PRIVATE_HOSTS['link-local'] ?? []),
    '0.0.0.0',
  ]) {
    expect(() => policy.checkUrl(`http://${host}/latest`, 'api_base')).toThrow(InvalidRequestError)
  }
  for (const address of ['64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::', '::a9fe:a9fe', '::ffff:169.254.169.254']) {
    expect(policy.isAddressAllowed(address, tls)).toBe(false)
  }
  expect(policy.isAddressAllowed('64:ff9b::8.8.8.8', tls)).toBe(true)
})

test("the gateway's own address and its Redis stay closed when everything is opened", () => {
  const forbidden = ownTargets({ host: '0.0.0.0', port: 4000 }, 'redis://user:pass@redis:6379/0')
  const policy = createEgressPolicy({ allowedCidrs: ['0.0.0.0/0', '::/0'], forbidden })
  const own = Object.values(networkInterfaces()).flatMap((items) => (items ?? []).map((item) => item.address))
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', ...own]) {
    expect(policy.isAddressAllowed(address, { port: 4000, isEncrypted: false })).toBe(false)
  }
  for (const url of [
    'http://localhost:4000/',
    'http://127.1:4000/',
    'http://redis:6379/',
    'http://10.0.0.9:6379/',
  ]) {
    expect(() => policy.checkUrl(url, 'api_base')).toThrow(InvalidRequestError)
  }
  expect(policy.isAddressAllowed('172.18.0.2', { port: 6379, isEncrypted: false })).toBe(false)
  expect(policy.isAddressAllowed('127.0.0.1', { port: 4001, isEncrypted: false })).toBe(true)
  // A listener on every address may be behind any private one: a container's host, say.
  expect(policy.isAddressAllowed('10.0.0.9', { port: 4000, isEncrypted: false })).toBe(false)
  expect(policy.isAddressAllowed('8.8.8.8', { port: 4000, isEncrypted: true })).toBe(true)
  const v6 = createEgressPolicy({ allowedCidrs: ['10.0.0.0/8'], forbidden: [{ host: '::', port: 4000 }] })
  expect(v6.isAddressAllowed('10.0.0.9', { port: 4000, isEncrypted: false })).toBe(false)
  const narrow = createEgressPolicy({
    allowedCidrs: ['10.0.0.0/8'],
    forbidden: [{ host: '127.0.0.1', port: 4000 }],
  })
  expect(narrow.isAddressAllowed('10.0.0.9', { port: 4000, isEncrypted: false })).toBe(true)
})

test.each([
  ['redis://10.0.0.5/2', [{ host: '10.0.0.5', port: 6379 }]],
  ['rediss://:p@ss@cache.example:6380', [{ host: 'cache.example', port: 6380 }]],
  ['redis://[::1]:7000', [{ host: '::1', port: 7000 }]],
  ['unix:///run/redis.sock', []],
  [
    'redis+sentinel://a:1,b/NAME',
    [
      { host: 'a', port: 1 },
      { host: 'b', port: 26_379 },
      { host: 'a', port: 6379 },
      { host: 'b', port: 6379 },
    ],
  ],
  [
    'redis+cluster://a:1,b',
    [
      { host: 'a', port: 1 },
      { host: 'b', port: 6379 },
      { host: 'a', port: 6379 },
    ],
  ],
])('every node of REDIS_URL is a forbidden target: %s', (url, nodes) => {
  const listen = { host: '127.0.0.1', port: 4000 }
  expect(ownTargets(listen, url)).toEqual([listen, ...nodes])
})

test('allowed_client_hosts narrows where a URL may lead, by whole labels', () => {
  const rules = { allowedHosts: ['api.openai.com', '*.openai.azure.com', 'edge.example:8443'] }
  for (const host of ['api.openai.com', 'API.OPENAI.COM', 'mine.openai.azure.com', 'edge.example:8443']) {
    expect(closed.checkUrl(`https://${host}/v1`, 'api_base', rules).protocol).toBe('https:')
  }
  for (const host of [
    'openai.azure.com',
    'evilopenai.azure.com',
    'api.openai.com.evil.com',
    'edge.example',
  ]) {
    expect(() => closed.checkUrl(`https://${host}/v1`, 'api_base', rules)).toThrow(/allowed_client_hosts/)
  }
})

test('a webhook URL may carry a query when the caller says so', () => {
  expect(closed.checkUrl('https://hooks.example/x?t=1', 'webhook.url', { allowQuery: true }).search).toBe(
    '?t=1',
  )
})

test('a CIDR that is none stops the start', () => {
  expect(() => createEgressPolicy({ allowedCidrs: ['10.0.0.0/33'] })).toThrow(ConfigError)
  expect(() => createEgressPolicy({ allowedCidrs: ['everything'] })).toThrow(/GATEWAY_ALLOWED_CIDRS/)
})

test('whoever is refused is told the setting that opens networks to such a URL', () => {
  const setting = 'GATEWAY_WEBHOOK_ALLOWED_CIDRS'
  const webhooks = createEgressPolicy({ allowedCidrs: [], setting })
  expect(catchRefusal(() => webhooks.checkUrl('https://10.0.0.1/', 'url')).message).toContain(`(${setting})`)
  expect(() => createEgressPolicy({ allowedCidrs: ['everything'], setting })).toThrow(`${setting}: `)
})

function catchRefusal(call: () => unknown): InvalidRequestError {
  try {
    call()
  } catch (error) {
    if (error instanceof InvalidRequestError) return error
  }
  throw new Error('was not refused')
}
