import type { CredentialBundle } from '../../shared/schemas/plan.ts'

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
  const values = [bundle.api_key, bundle.azure_ad_token, ...Object.values(bundle.headers)]
  const secrets = values
    .filter((value) => value !== null && value.length >= SECRET_CHARACTERS_MIN)
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

function stripUrl(text: string): string {
  const url = URL.parse(text)
  return url ? url.origin + url.pathname : '[redacted]'
}
