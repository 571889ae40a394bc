import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  bedrockBase,
  cloudflareBase,
  snowflakeBase,
  vertexBase,
} from '../../shared/settings/provider-hosts.ts'

test.each<[string | null, string]>([
  [vertexBase('us-central1'), 'https://us-central1-aiplatform.googleapis.com'],
  [vertexBase('global'), 'https://aiplatform.googleapis.com'],
  [vertexBase('eu'), 'https://aiplatform.eu.rep.googleapis.com'],
  [bedrockBase('us-west-2'), 'https://bedrock-runtime.us-west-2.amazonaws.com'],
  [bedrockBase('cn-north-1'), 'https://bedrock-runtime.cn-north-1.amazonaws.com.cn'],
  [snowflakeBase('MyOrg-my_account'), 'https://myorg-my-account.snowflakecomputing.com/api/v2/cortex/v1'],
  [
    snowflakeBase('xy12345.us-east-2.aws'),
    'https://xy12345.us-east-2.aws.snowflakecomputing.com/api/v2/cortex/v1',
  ],
  [cloudflareBase('0a1b'), 'https://api.cloudflare.com/client/v4/accounts/0a1b/ai/v1'],
])('%s', (base, expected) => {
  expect(base).toBe(expected)
})

const HOSTILE = [
  '',
  '.',
  '..',
  '-a',
  'a-',
  'evil.com/',
  'evil.com#',
  'evil.com?',
  'evil.com\\',
  'a@evil.com/',
  'a:b@evil.com',
  'a:443',
  'us\u2024east',
  'us%2east',
  'ＵＳ',
  'xn--\u0000',
  ' us',
  'us\n',
  '[::1]',
  'a'.repeat(64),
  '../..',
]

test.each(['us-gov-west-1', 'eu-isoe-west-1', 'ap-southeast-7', 'mx-central-1', 'us-east-12'])(
  'Amazon has or may have the region %s',
  (region) => {
    expect(bedrockBase(region)).toBe(`https://bedrock-runtime.${region}.amazonaws.com`)
  },
)

// `bedrock-runtime.s3.amazonaws.com` is a bucket: of whoever was the first to call one so.
test.each([
  's3',
  's3-us-west-2',
  's3-accelerate',
  's3-website-us-east-1',
  's3-external-1',
  'elb',
  'dualstack',
])('Amazon has no region %s, and nothing is called under it', (label) => {
  expect(bedrockBase(label)).toBeNull()
})

describe('what is no DNS label makes no host', () => {
  test.each(HOSTILE)('%j', (text) => {
    expect([vertexBase(text), bedrockBase(text), snowflakeBase(text), cloudflareBase(text)]).toEqual([
      null,
      null,
      null,
      null,
    ])
    expect(vertexBase(`us.${text}`)).toBeNull()
    expect(bedrockBase(`us.${text}`)).toBeNull()
  })

  test("whatever is given, a base lies under the provider's own domain", () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('a', '.', '-', '/', '@', ':', '#', '?', '%'),
    )
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''))
    fc.assert(
      fc.property(text, (given) => {
        const bases: [string | null, string][] = [
          [vertexBase(given), 'googleapis.com'],
          [bedrockBase(given), 'amazonaws.com'],
          [snowflakeBase(given), 'snowflakecomputing.com'],
          [cloudflareBase(given), 'cloudflare.com'],
        ]
        for (const [base, suffix] of bases) {
          if (base === null) continue
          const { hostname, protocol, username, port } = new URL(base)
          expect(hostname.replace(/\.cn$/, '').endsWith(`.${suffix}`)).toBe(true)
          expect([protocol, username, port]).toEqual(['https:', '', ''])
        }
      }),
      { numRuns: 3000 },
    )
  })
})
