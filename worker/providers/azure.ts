import { AZURE_API_VERSION } from '../../shared/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { appendPath, CALL_LIMITS, postOpenai, type CallLimits } from './openai-call.ts'
import { plainError } from './classify.ts'
import type { Provider } from './provider.ts'

/** Azure OpenAI: OpenAI's bodies behind its own URLs and `api-key` header. */
export function createAzure(outbound: Outbound, limits: CallLimits = CALL_LIMITS): Provider {
  return {
    async call(call) {
      const { bundle } = call
      const url = azureChatUrl(bundle)
      if (url === null) return { kind: 'error', error: plainError('bad_request', 'Azure needs an api_base.') }
      return postOpenai(outbound, call, { url, credential: credentialOf(bundle) }, limits)
    },
  }
}

/**
 * Where Azure takes a chat completion: by deployment name and `api-version`; without them on the v1 surface; at the base
 * itself when that names a deployment, or is a Cloudflare AI gateway. Null without a base.
 * @see https://learn.microsoft.com/azure/ai-services/openai/api-version-lifecycle
 */
export function azureChatUrl(
  bundle: Pick<CredentialBundle, 'api_base' | 'api_version' | 'model'>,
): string | null {
  if (bundle.api_base === null) return null
  const [base = '', query] = bundle.api_base.split('?')
  const trimmed = base.replace(/\/+$/, '')
  const version = bundle.api_version ?? AZURE_API_VERSION
  // A version in the operator's own base is the more exact one.
  const search = query ? `?${query}` : `?api-version=${encodeURIComponent(version)}`
  const deployment = encodeURIComponent(bundle.model)
  const isPinned = /\/openai\/deployments\/[^/]/.test(trimmed)
  if (isPinned) return chatAt(trimmed) + search
  if (URL.parse(trimmed)?.hostname === 'gateway.ai.cloudflare.com') {
    return chatAt(`${trimmed}/${deployment}`) + search
  }
  if (trimmed.endsWith('/openai/v1') || V1_VERSIONS.has(version)) {
    // The v1 surface takes no date; `preview` and `latest` are still sent along.
    const isNamed = version === 'preview' || version === 'latest'
    return chatAt(appendPath(trimmed, '/openai/v1')) + (isNamed ? search : '')
  }
  return chatAt(`${appendPath(trimmed, '/openai/deployments')}/${deployment}`) + search
}

const V1_VERSIONS = new Set(['v1', 'latest', 'preview'])

function chatAt(path: string): string {
  return appendPath(path, '/chat/completions')
}

function credentialOf(bundle: CredentialBundle): Record<string, string> {
  if (bundle.api_key) return { 'api-key': bundle.api_key }
  return bundle.azure_ad_token ? { authorization: `Bearer ${bundle.azure_ad_token}` } : {}
}
