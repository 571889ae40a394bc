import { createEgressPolicy } from '../../shared/egress.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { createOutbound, type Outbound } from '../../worker/outbound.ts'
import type { ProviderCall } from '../../worker/providers/provider.ts'

/** A door out to 127.0.0.1. The caller closes it. */
export function createLocalOutbound(options: { connectMs?: number } = {}): Outbound {
  const policy = createEgressPolicy({ allowedCidrs: ['127.0.0.1/32'] })
  return createOutbound({ policy, files: { policy, allowedHosts: null }, ...options })
}

/** A client's bundle for an OpenAI-shaped provider, changed as given. */
export function bundleOf(changes: Partial<CredentialBundle> = {}): CredentialBundle {
  return {
    provider: 'openai',
    model: 'gpt-4o',
    api_base: null,
    trusted_base: false,
    api_key: 'sk-test-key',
    api_version: null,
    organization: null,
    azure_ad_token: null,
    headers: {},
    params: {},
    ...changes,
  }
}

/** A call of a deployment that has five seconds, changed as given. */
export function callOf(
  bundle: Partial<CredentialBundle>,
  body: Record<string, unknown> = { model: 'group', messages: [{ role: 'user', content: 'Hi' }] },
  changes: Partial<ProviderCall> = {},
): ProviderCall {
  const { signal } = new AbortController()
  return {
    endpoint: 'chat',
    bundle: bundleOf(bundle),
    body,
    drop: null,
    timeoutMs: 5_000,
    signal,
    sink: null,
    ...changes,
  }
}
