/** One part of a host name (RFC 1123). */
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** Google's two regions that are many: their data stays within, and they have hosts of their own form. */
const MULTI_REGIONS: ReadonlySet<string> = new Set(['eu', 'us'])

/**
 * Where Vertex AI is called for a location; null when that is no DNS label.
 * @see https://cloud.google.com/vertex-ai/docs/general/locations
 */
export function vertexBase(location: string): string | null {
  if (!LABEL.test(location)) return null
  if (location === 'global') return 'https://aiplatform.googleapis.com'
  if (MULTI_REGIONS.has(location)) return under(`aiplatform.${location}.rep`, 'googleapis.com')
  return under(`${location}-aiplatform`, 'googleapis.com')
}

/** Amazon's regions: words and a number. Of other labels some are services with customers' hosts below them, as `s3` is. */
const AWS_REGION = /^[a-z]{2,8}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2}$/

/**
 * Where Bedrock is called for a region; null when that has not the form of one.
 * @see https://docs.aws.amazon.com/general/latest/gr/bedrock.html
 */
export function bedrockBase(region: string): string | null {
  if (!AWS_REGION.test(region)) return null
  return under(`bedrock-runtime.${region}`, region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com')
}

/**
 * Snowflake's OpenAI-shaped API of one account; null when the account is none. An account's name may hold underscores, its
 * host has hyphens in their place.
 * @see https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api
 */
export function snowflakeBase(account: string): string | null {
  const host = account.toLowerCase().replaceAll('_', '-')
  return under(host, 'snowflakecomputing.com', '/api/v2/cortex/v1')
}

/**
 * Cloudflare's OpenAI-shaped API of one account; null when the account is none.
 * @see https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/
 */
export function cloudflareBase(account: string): string | null {
  if (!LABEL.test(account)) return null
  return `https://api.cloudflare.com/client/v4/accounts/${account}/ai/v1`
}

/** A base on a host under a provider's own domain. It is judged as it will be parsed: what is not the text that was meant is none. */
function under(labels: string, suffix: string, path = ''): string | null {
  if (!labels.split('.').every((label) => LABEL.test(label))) return null
  const host = `${labels}.${suffix}`
  const url = URL.parse(`https://${host}${path}`)
  if (url === null || url.hostname !== host || !url.hostname.endsWith(`.${suffix}`)) return null
  return `${url.origin}${path}`
}
