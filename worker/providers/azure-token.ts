import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { OutboundResponse } from '../exchange.ts'
import type { Outbound } from '../outbound.ts'
import { classifyAnswer, classifyFailure, plainError } from './classify.ts'
import { isObject, parseJson } from './error-body.ts'
import { createTokenCache, type TokenOutcome } from './token-cache.ts'

/** An app of a tenant, and what its token is for. */
export type AzureApp = { tenant: string; client: string; secret: string; scope: string }

const SCOPE = 'https://cognitiveservices.azure.com/.default'
/** Each of Microsoft's clouds has its own place to log in, told by the scope; no text of a client is a part of the host. */
const LOGINS: [scope: RegExp, origin: string][] = [
  [/\.azure\.us\/\.default$/, 'https://login.microsoftonline.us'],
  [/\.azure\.cn\/\.default$/, 'https://login.partner.microsoftonline.cn'],
  [/\.azure\.com\/\.default$/, 'https://login.microsoftonline.com'],
]
/** Before a token's end, for calls that take long. */
const MARGIN_MS = 5 * 60_000
const TIMEOUT_MS = 10_000
const RESPONSE_BYTES_MAX = 100_000

/** Its app of a bundle that has one. */
export function appOf({ auth = {} }: CredentialBundle): AzureApp | null {
  const { tenant_id: tenant, client_id: client, client_secret: secret, azure_scope: scope = SCOPE } = auth
  if (tenant === undefined || client === undefined || secret === undefined) return null
  return { tenant, client, secret, scope }
}

/**
 * Tokens of Microsoft Entra apps by the client credentials flow, kept in memory until five minutes before their end.
 * @see https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
 */
export function createAzureTokens(
  outbound: Outbound,
  options: { now?: () => number; entriesMax?: number } = {},
) {
  return createTokenCache<AzureApp>((app) => ask(outbound, app), options)
}

export type AzureTokens = ReturnType<typeof createAzureTokens>

async function ask(outbound: Outbound, { tenant, client, secret, scope }: AzureApp): Promise<TokenOutcome> {
  const origin = LOGINS.find(([pattern]) => pattern.test(scope))?.[1]
  if (origin === undefined) return refused(null)
  const fields = { grant_type: 'client_credentials', client_id: client, client_secret: secret, scope }
  try {
    const response = await outbound.post({
      url: `${origin}/${encodeURIComponent(tenant)}/oauth2/v2.0/token`,
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'byok-gateway' },
      body: new URLSearchParams(fields).toString(),
      timeouts: { connectMs: TIMEOUT_MS, firstByteMs: TIMEOUT_MS, idleMs: TIMEOUT_MS, totalMs: TIMEOUT_MS },
      maxResponseBytes: RESPONSE_BYTES_MAX,
      // Several calls may wait for it: it ends by its own clock.
      signal: new AbortController().signal,
    })
    return readToken(response)
  } catch (error) {
    // No model was asked, whatever went wrong.
    return { kind: 'error', error: { ...classifyFailure(error), isPossiblyBilled: false } }
  }
}

function readToken({ status, headers, body }: OutboundResponse): TokenOutcome {
  const parsed = parseJson(body)
  const { access_token: token, expires_in: expiresIn, error_codes: codes } = isObject(parsed) ? parsed : {}
  if (status === 200 && typeof token === 'string' && /^[\x21-\x7e]{1,16384}$/.test(token)) {
    const lifeMs = typeof expiresIn === 'number' && expiresIn > 0 ? expiresIn * 1000 : 0
    return { kind: 'token', token, usableMs: Math.max(0, lifeMs - MARGIN_MS) }
  }
  if (status === 400 || status === 401 || status === 403) return refused(codes)
  // Nothing of what it says is shown: it names the tenant and the app.
  const answer = { status: status < 300 ? 502 : status, headers, body: Buffer.alloc(0) }
  return {
    kind: 'error',
    error: { ...classifyAnswer(answer, () => '', Date.now()), isPossiblyBilled: false },
  }
}

function refused(codes: unknown): TokenOutcome {
  const first: unknown = Array.isArray(codes) ? codes[0] : null
  const code = typeof first === 'number' && Number.isSafeInteger(first) ? `AADSTS${first}` : null
  const message = `Microsoft gives no token for this tenant_id, client_id and client_secret${code ? ` (${code})` : ''}.`
  return { kind: 'error', error: { ...plainError('authentication', message), status: 401, code } }
}
