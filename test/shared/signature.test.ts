import { OpenAI } from 'openai'
import { expect, test } from 'vitest'
import { checkWebhookSecret, deriveWebhookSecret, signWebhook } from '../../shared/webhooks/signature.ts'

const client = new OpenAI({ apiKey: 'unused', baseURL: 'http://127.0.0.1:1' })
const body = JSON.stringify({
  id: 'evt_1',
  object: 'event',
  type: 'job.completed',
  data: { id: 'job_1', text: 'ü€😀' },
})

function signed(secret: string, timestampS = Math.floor(Date.now() / 1000)) {
  return {
    'webhook-id': 'evt_1',
    'webhook-timestamp': String(timestampS),
    'webhook-signature': signWebhook({ secret, id: 'evt_1', timestampS, body }),
  }
}

test.each([
  ['derived', deriveWebhookSecret('id-secret', 'acme', null)],
  ['of the client', 'whsec_bm90IGEgdmVyeSBsb25nIHNlY3JldA=='],
  ['of the client, its own text', 'a plain text secret'],
  ['of the client, its own text beyond ASCII', 'schlüssel-€-😀'],
])("a signature by a secret %s is accepted by the official SDK's unwrap", async (_, secret) => {
  const event: unknown = await client.webhooks.unwrap(body, signed(secret), secret)
  expect(event).toMatchObject({ type: 'job.completed', data: { id: 'job_1', text: 'ü€😀' } })
})

test('a changed body, another secret, another id and an old timestamp are all refused by the receiver', async () => {
  const secret = deriveWebhookSecret('id-secret', 'acme', null)
  const headers = signed(secret)
  const old = signed(secret, Math.floor(Date.now() / 1000) - 301)
  const other = deriveWebhookSecret('id-secret', 'acme', 'c1')
  await expect(client.webhooks.unwrap(body.replace('job_1', 'job_2'), headers, secret)).rejects.toThrow()
  await expect(client.webhooks.unwrap(body, headers, other)).rejects.toThrow()
  await expect(client.webhooks.unwrap(body, { ...headers, 'webhook-id': 'evt_2' }, secret)).rejects.toThrow()
  await expect(client.webhooks.unwrap(body, old, secret)).rejects.toThrow()
})

test('a derived secret is stable, and differs by installation, tenant and customer, which can not run into each other', () => {
  const secrets = [
    deriveWebhookSecret('id-secret', 'acme', null),
    deriveWebhookSecret('id-secret', 'acme', ''),
    deriveWebhookSecret('id-secret', 'acme', 'c1'),
    deriveWebhookSecret('id-secret', 'acm', 'ec1'),
    deriveWebhookSecret('id-secret', 'acme\0c1', null),
    deriveWebhookSecret('another', 'acme', null),
  ]
  expect(new Set(secrets).size).toBe(secrets.length)
  expect(deriveWebhookSecret('id-secret', 'acme', 'c1')).toBe(secrets[2])
})

test('a derived secret is 32 bytes in padded standard base64, as every verifier takes it', () => {
  for (let number = 0; number < 50; number++) {
    const secret = deriveWebhookSecret('id-secret', `tenant-${number}`, null)
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(() => checkWebhookSecret(secret, 'webhook.secret')).not.toThrow()
  }
})

test.each(['whsec_', 'whsec_not base64', 'whsec_YWJj_-', 'whsec_YWI', 'whsec_='])(
  'the secret %j is refused with its path, since nobody could verify with it',
  (secret) => {
    expect(() => checkWebhookSecret(secret, 'webhook.secret')).toThrow(
      expect.objectContaining({ status: 400, param: 'webhook.secret' }),
    )
  },
)

test('any other text is a secret as it is', () => {
  expect(() => checkWebhookSecret('hunter2', 'webhook.secret')).not.toThrow()
  expect(() => checkWebhookSecret('whsec_YWI=', 'webhook.secret')).not.toThrow()
})
