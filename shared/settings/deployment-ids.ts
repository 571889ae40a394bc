import type { Ids } from '../ids.ts'
import type { CredentialBundle } from '../schemas/plan.ts'

/**
 * Ids of a deployment and of its key for one owner: keyed HMACs, the same in every process and for every job, so
 * cooldowns and limits hold across them. Weights and timeouts are no part of who a deployment is.
 */
export function deploymentIds(
  bundle: CredentialBundle,
  owner: string,
  ids: Ids,
): { id: string; keyId: string } {
  const credential = JSON.stringify([
    bundle.api_key,
    bundle.azure_ad_token,
    bundle.organization,
    sorted(bundle.headers),
    // Two canned answers are two deployments, as two servers would be.
    bundle.mock_response ?? null,
    ...(bundle.auth ? [sorted(bundle.auth)] : []),
  ])
  const place = [owner, bundle.provider, bundle.api_base ?? '', bundle.api_version ?? ''] as const
  return {
    id: ids.fingerprint('deployment', ...place, bundle.model, credential),
    keyId: ids.fingerprint('key', ...place, credential),
  }
}

function sorted(fields: Record<string, string>): [string, string][] {
  return Object.entries(fields).toSorted(([left], [right]) => (left < right ? -1 : 1))
}
