import { importPKCS8, SignJWT } from 'jose'
import type { ServiceAccount } from '../../shared/settings/service-account.ts'
import type { OutboundResponse } from '../exchange.ts'
import type { Outbound } from '../outbound.ts'
import { classifyAnswer, classifyFailure, plainError } from './classify.ts'
import { isObject, parseJson } from './error-body.ts'
import type { ProviderError } from './provider.ts'
import { createTokenCache, type TokenOutcome } from './token-cache.ts'

/** Fixed, whatever a key file says: its own `token_uri` is the client's text. */
const TOKEN_URL = 'https://oauth2.googleapis.com/token'
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
/** Google's tokens hold an hour; a call may take some minutes of it. */
const KEPT_MS = 55 * 60_000
/** Before a token's end, for calls that take long. */
const MARGIN_MS = 5 * 60_000
const TIMEOUT_MS = 10_000
const RESPONSE_BYTES_MAX = 100_000

/**
 * Access tokens of service accounts, kept in memory for at most 55 minutes.
 * @see https://developers.google.com/identity/protocols/oauth2/service-account#httprest
 * @param options For tests.
 */
export function createGoogleTokens(
  outbound: Outbound,
  options: { now?: () => number; entriesMax?: number } = {},
) {
  return createTokenCache<ServiceAccount>((account) => ask(outbound, account), options)
}

export type GoogleTokens = ReturnType<typeof createGoogleTokens>

async function ask(outbound: Outbound, account: ServiceAccount): Promise<TokenOutcome> {
  let assertion: string
  try {
    assertion = await sign(account)
  } catch {
    return failed(plainError('authentication', 'The private key of vertex_credentials can not be used.'))
  }
  const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion })
  try {
    const response = await outbound.post({
      url: TOKEN_URL,
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'byok-gateway' },
      body: body.toString(),
      timeouts: { connectMs: TIMEOUT_MS, firstByteMs: TIMEOUT_MS, idleMs: TIMEOUT_MS, totalMs: TIMEOUT_MS },
      maxResponseBytes: RESPONSE_BYTES_MAX,
      // Several calls may wait for it: it ends by its own clock.
      signal: new AbortController().signal,
    })
    return readToken(response)
  } catch (error) {
    // No model was asked, whatever went wrong.
    return failed({ ...classifyFailure(error), isPossiblyBilled: false })
  }
}

async function sign({ client_email: email, private_key: pem, private_key_id: id }: ServiceAccount) {
  const key = await importPKCS8(pem.trim(), 'RS256')
  return new SignJWT({ scope: SCOPE })
    .setProtectedHeader({ alg: 'RS256', typ: 'JWT', ...(id === undefined ? {} : { kid: id }) })
    .setIssuer(email)
    .setSubject(email)
    .setAudience(TOKEN_URL)
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(key)
}

const REFUSED = new Set([400, 401, 403])

function readToken({ status, headers, body }: OutboundResponse): TokenOutcome {
  const parsed = parseJson(body)
  const { access_token: token, expires_in: expiresIn, error: said } = isObject(parsed) ? parsed : {}
  if (status === 200 && typeof token === 'string' && /^[\x21-\x7e]{1,16384}$/.test(token)) {
    const lifeMs = typeof expiresIn === 'number' && expiresIn > 0 ? expiresIn * 1000 : 0
    return { kind: 'token', token, usableMs: Math.min(Math.max(0, lifeMs - MARGIN_MS), KEPT_MS) }
  }
  if (REFUSED.has(status)) {
    const code = typeof said === 'string' && /^\w{1,64}$/.test(said) ? said : null
    const message = `Google gives no token for this service account${code === null ? '' : ` (${code})`}.`
    return failed({ ...plainError('authentication', message), status: 401, code })
  }
  // Nothing of what it says is shown: it may name the account.
  const answer = { status: status < 300 ? 502 : status, headers, body: Buffer.alloc(0) }
  return failed({ ...classifyAnswer(answer, () => '', Date.now()), isPossiblyBilled: false })
}

function failed(error: ProviderError): TokenOutcome {
  return { kind: 'error', error }
}
