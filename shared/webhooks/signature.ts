import { createHmac, randomBytes } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { InvalidRequestError } from '../errors.ts'

const PREFIX = 'whsec_'
const SECRET_BYTES = 32

/** A new webhook secret: `whsec_` and the padded standard base64 of 32 random bytes, as every verifier takes it. */
export function newWebhookSecret(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString('base64')
}

/**
 * The webhook secret of a tenant and customer who gave none: `whsec_` and the padded standard base64 of 32 bytes. It is
 * derived from `GATEWAY_ID_SECRET`, so it is the same for as long as that is, and nothing is stored.
 */
export function deriveWebhookSecret(idSecret: string, tenant: string, customer: string | null): string {
  const hmac = createHmac('sha256', idSecret).update(`webhook-secret\0${Buffer.byteLength(tenant)}:${tenant}`)
  if (customer !== null) hmac.update(`\0${customer}`)
  // Not url-safe: some verifiers split at the underscore, and Python's wants the padding.
  return PREFIX + hmac.digest('base64')
}

/**
 * Refuses a secret that no verifier could use.
 * @throws {InvalidRequestError} for a `whsec_` secret whose rest is not padded standard base64.
 */
export function checkWebhookSecret(secret: string, param: string): void {
  if (!secret.startsWith(PREFIX)) return
  const encoded = secret.slice(PREFIX.length)
  if (/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded) && encoded !== '')
    return
  const message =
    'A secret that starts with whsec_ must go on with standard base64, padding included. Any other text is used as it is.'
  throw new InvalidRequestError(message, param)
}

/**
 * Signs the exact text that is sent, as one entry of `webhook-signature`.
 * @param options.secret `whsec_` and base64; any other text is the key itself, as UTF-8.
 * @param options.id Of the event: the same on every try.
 * @param options.timestampS Unix seconds of this try.
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function signWebhook(options: {
  secret: string
  id: string
  timestampS: number
  body: string
}): string {
  const { secret, id, timestampS, body } = options
  // Bytes, not text: the library would cut each character of a raw secret to eight bits.
  const webhook = secret.startsWith(PREFIX)
    ? new Webhook(secret)
    : new Webhook(Buffer.from(secret, 'utf8'), { format: 'raw' })
  return webhook.sign(id, new Date(timestampS * 1000), body)
}
