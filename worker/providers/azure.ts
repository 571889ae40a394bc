import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { AZURE_API_VERSION } from '../../shared/settings/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { appOf, createAzureTokens, type AzureTokens } from './azure-token.ts'
import { plainError } from './classify.ts'
import {
  appendPath,
  CALL_LIMITS,
  OPENAI_PATHS,
  postOpenai,
  type CallLimits,
  type CallTarget,
} from './openai-call.ts'
import type { Provider, ProviderError } from './provider.ts'

/** Azure OpenAI: OpenAI's bodies behind its own URLs, by an `api-key` header or a Microsoft Entra token. */
export function createAzure(
  outbound: Outbound,
  limits: CallLimits = CALL_LIMITS,
  tokens: AzureTokens = createAzureTokens(outbound),
): Provider {
  return {
    async call(call) {
      const found = await azureTarget(call.bundle, call.endpoint, tokens, call.signal)
      if (found.kind === 'error') return found
      const outcome = await postOpenai(outbound, call, found, limits)
      const app = appOf(call.bundle)
      if (app && outcome.kind === 'error' && outcome.error.status === 401) tokens.forget(app)
      return outcome
    },
  }
}

/** Where a call of this bundle goes, and the header that carries its secret; an error when it has no base, or gets no token. */
async function azureTarget(
  bundle: CredentialBundle,
  endpoint: EndpointName,
  tokens: AzureTokens,
  signal: AbortSignal,
): Promise<({ kind: 'target' } & CallTarget) | { kind: 'error'; error: ProviderError }> {
  const url = azureUrl(bundle, endpoint)
  if (url === null) return { kind: 'error', error: plainError('bad_request', 'Azure needs an api_base.') }
  const target = (credential: Record<string, string>) => ({ kind: 'target', url, credential }) as const
  if (bundle.api_key) return target({ 'api-key': bundle.api_key })
  if (bundle.azure_ad_token) return target({ authorization: `Bearer ${bundle.azure_ad_token}` })
  const app = appOf(bundle)
  if (!app) return target({})
  const found = await tokens.get(app, signal)
  return found.kind === 'error' ? found : target({ authorization: `Bearer ${found.token}` })
}

/**
 * Where Azure takes a request: by deployment name and `api-version`; without them, and for responses, on the v1 surface; at
 * the base itself when that names a deployment, or is a Cloudflare AI gateway. Null without a base.
 * @see https://learn.microsoft.com/azure/ai-services/openai/api-version-lifecycle
 */
export function azureUrl(
  bundle: Pick<CredentialBundle, 'api_base' | 'api_version' | 'model'>,
  endpoint: EndpointName,
): string | null {
  if (bundle.api_base === null) return null
  const [base = '', query] = bundle.api_base.split('?')
  // A base may be given as the address of one endpoint.
  const trimmed = base
    .replace(/\/+$/, '')
    .replace(/\/(?:chat\/completions|completions|embeddings|responses)$/, '')
  const path = OPENAI_PATHS[endpoint]
  const version = bundle.api_version ?? AZURE_API_VERSION
  // A version in the operator's own base is the more exact one.
  const search = query ? `?${query}` : `?api-version=${encodeURIComponent(version)}`
  const deployment = encodeURIComponent(bundle.model)
  if (URL.parse(trimmed)?.hostname === 'gateway.ai.cloudflare.com')
    return `${trimmed}/${deployment}${path}${search}`
  const isOnV1 = trimmed.endsWith('/openai/v1') || V1_VERSIONS.has(version)
  const resource = trimmed.replace(/\/openai\/deployments(?:\/[^/]+)?$/, '')
  const isPinned = /\/openai\/deployments\/[^/]/.test(trimmed)
  if (endpoint !== 'responses' && isPinned) return trimmed + path + search
  if (endpoint === 'responses' || isOnV1) {
    // The v1 surface takes no date; `preview` and `latest` are still sent along.
    const isNamed = version === 'preview' || version === 'latest'
    return appendPath(resource, '/openai/v1') + path + (isNamed ? search : '')
  }
  return `${appendPath(trimmed, '/openai/deployments')}/${deployment}${path}${search}`
}

const V1_VERSIONS = new Set(['v1', 'latest', 'preview'])
