import { vertexBase } from '../../shared/settings/provider-hosts.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { serviceAccountOf, type ServiceAccount } from '../../shared/settings/service-account.ts'
import type { Outbound } from '../outbound.ts'
import { claude, CLAUDE } from './anthropic.ts'
import { plainError } from './classify.ts'
import { gemini, GEMINI, isModelPath } from './gemini.ts'
import { createGoogleTokens, type GoogleTokens } from './google-token.ts'
import type { ModelFamily } from './model-call/family.ts'
import { callModel } from './model-call/model-call.ts'
import { CALL_LIMITS, type CallLimits } from './openai-call.ts'
import type { CallOutcome, Provider } from './provider.ts'

/** Of Anthropic's API as Vertex AI has it. */
const VERSION = 'vertex-2023-10-16'
/** Old projects are named with their domain. */
const PROJECT = /^[a-z0-9][a-z0-9.:-]{0,98}$/

/** Gemini and Claude on Vertex AI, by a service account. */
export function createVertex(
  outbound: Outbound,
  limits: CallLimits = CALL_LIMITS,
  tokens: GoogleTokens = createGoogleTokens(outbound),
): Provider {
  return {
    async call(call) {
      const { bundle } = call
      const account = accountOf(bundle)
      if (!account) return refusal('Vertex AI needs the key of a service account as vertex_credentials.')
      const place = placeOf(bundle, account)
      if (place === null) return refusal('Vertex AI needs a vertex_location and a vertex_project.')
      if (!isModelPath(bundle.model) || bundle.model.includes('/')) {
        return refusal('Of Vertex AI, this gateway calls Gemini and Claude, by the names of their models.')
      }
      const found = await tokens.get(account, call.signal)
      if (found.kind === 'error') return found
      const target = {
        ...modelAt(place, bundle),
        credential: { authorization: `Bearer ${found.token}` },
        secrets: [found.token],
      }
      const outcome = await callModel(outbound, call, target, limits)
      if (outcome.kind === 'error' && outcome.error.status === 401) tokens.forget(account)
      return outcome
    },
  }
}

function refusal(message: string): CallOutcome {
  return { kind: 'error', error: plainError('bad_request', message) }
}

function accountOf({ auth }: CredentialBundle): ServiceAccount | null {
  try {
    return serviceAccountOf(auth)
  } catch {
    return null
  }
}

/** The URL up to `/locations/…`: of the location's own host, or of the deployment's base, which may name all of it. */
function placeOf({ api_base: base, auth = {} }: CredentialBundle, account: ServiceAccount): string | null {
  const { vertex_location: location, vertex_project: written } = auth
  const project = written ?? account.project_id
  if (base !== null && /\/projects\/[^/]+\/locations\/[^/]+$/.test(base)) return base
  // Both stand in a path, where a slash or a dot too many would lead elsewhere.
  if (location === undefined || project === undefined || !PROJECT.test(project)) return null
  const own = vertexBase(location)
  if (own === null) return null
  return `${(base ?? own).replace(/\/+$|\/v1\/*$/, '')}/v1/projects/${project}/locations/${location}`
}

function modelAt(place: string, bundle: CredentialBundle) {
  const { model } = bundle
  if (!model.startsWith('claude')) {
    const baseURL = `${place}/publishers/google`
    return {
      family: GEMINI,
      model: (fetch: typeof globalThis.fetch) => gemini(model, { baseURL, fetch, isVertex: true }),
    }
  }
  return {
    family: VERTEX_CLAUDE,
    model: (fetch: typeof globalThis.fetch) =>
      claude(bundle, {
        url: (isStreaming) =>
          `${place}/publishers/anthropic/models/${model}:${isStreaming ? 'streamRawPredict' : 'rawPredict'}`,
        fetch,
        body: ({ model: _model, ...rest }) => ({ anthropic_version: VERSION, ...rest }),
        headers: (headers) => ownHeaders(headers, bundle),
        hasSchemas: false,
      }),
  }
}

/** Vertex AI refuses test phases that it does not know: only those that the deployment names itself are sent. */
function ownHeaders(
  { 'anthropic-version': _version, 'anthropic-beta': _betas, ...headers }: Record<string, string | undefined>,
  bundle: CredentialBundle,
): Record<string, string | undefined> {
  const own = Object.entries(bundle.headers).find(([name]) => name.toLowerCase() === 'anthropic-beta')
  return own ? { ...headers, 'anthropic-beta': own[1] } : headers
}

/** Claude there fetches nothing by itself. */
const VERTEX_CLAUDE: ModelFamily = { ...CLAUDE, title: 'Claude on Vertex AI', urlType: () => null }
