// What is served outside `/v1`: Azure's paths, the description, and what is for operators.
const OUTSIDE = /^\/+(?:v1|openai|docs|openapi\.json|healthz|readyz|admin\/queues)(?=[/?]|$)/

/**
 * A URL under `/v1`, whether or not it was written so: SDKs are used with a base URL that ends in `/v1`, and with one that does
 * not. Said here, and not by a second set of routes, which made a start a tenth longer.
 */
export function withBasePath(url: string): string {
  return OUTSIDE.test(url) || !url.startsWith('/') ? url : `/v1${url}`
}
