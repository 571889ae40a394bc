import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { serviceAccountOf } from '../../shared/settings/service-account.ts'

/** Shorter values are placeholders (`none`, `x`), and taking them out would eat ordinary words. */
const SECRET_CHARACTERS_MIN = 5

/** Keys of Google, Amazon and Hugging Face, tokens in JWT form; and whose account it is: OpenAI's and Groq's id, Amazon's ARN. */
const OTHER_SECRETS =
  /\b(?:AIza[\w-]{10,}|A[KS]IA[A-Z0-9]{12,}|hf_\w{8,}|eyJ[\w-]{8,}\.[\w.-]+|org[-_]\w{6,}|arn:aws[\w-]*:[^\s"'`,]+)/g

/** Makes a provider's text fit to be stored and shown. */
export type Redact = (text: string) => string

/**
 * Takes out of a text whatever the bundle holds in secret, by value and in its URL-encoded form, whatever looks like a
 * key (providers echo keys half masked), and user names, passwords and queries of URLs.
 */
export function createRedact(bundle: CredentialBundle): Redact {
  const values = [
    bundle.api_key,
    bundle.azure_ad_token,
    ...Object.values(bundle.headers),
    ...secretsOf(bundle.auth ?? {}),
  ]
  const secrets = values
    .filter((value) => value !== null && value !== undefined && value.length >= SECRET_CHARACTERS_MIN)
    .flatMap((value) => [String(value), encodeURIComponent(String(value))])
    // The longest first: one secret may be part of another.
    .toSorted((a, b) => b.length - a.length)
  return (text) => {
    const bare = secrets.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), text)
    return bare
      .replaceAll(/https?:\/\/[^\s"'<>]+/gi, stripUrl)
      .replaceAll(/\bBearer\s+[^\s"']+/gi, 'Bearer [redacted]')
      .replaceAll(/\b(?:sk|pk|gsk|xai|fw|tgp|nvapi|csk|pplx|r8|key)[-_][\w*.-]{6,}/gi, '[redacted]')
      .replaceAll(OTHER_SECRETS, '[redacted]')
      .replaceAll(/\p{Cc}+/gu, ' ')
  }
}

/** Regions are ordinary words; whose account or project it is concerns nobody else. */
const REGIONS: ReadonlySet<string> = new Set(['aws_region_name', 'vertex_location', 'azure_scope'])

function secretsOf(auth: Record<string, string>): string[] {
  const plain = Object.entries(auth).flatMap(([field, value]) => (REGIONS.has(field) ? [] : [value]))
  const account = serviceAccountOf(auth)
  if (!account) return plain
  // A text may quote the key whole, as it stands in JSON, or any line of it.
  const {
    private_key: key,
    private_key_id: keyId = '',
    client_email: email,
    project_id: project = '',
  } = account
  const lines = key.split('\n').filter((line) => !line.startsWith('-----'))
  return [...plain, key, JSON.stringify(key).slice(1, -1), ...lines, keyId, email, project]
}

function stripUrl(text: string): string {
  const url = URL.parse(text)
  return url ? url.origin + url.pathname : '[redacted]'
}
