import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { findProvider, type ProviderFamily } from '../../shared/settings/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { messages } from '../translation/messages.ts'
import { responses } from '../translation/responses.ts'
import { translated, type ChatDialect, type Translation } from '../translation/translation.ts'
import { createAzure } from './azure.ts'
import { CALL_LIMITS, type CallLimits } from './openai-call.ts'
import { ownFault, plainError } from './classify.ts'
import { isMocked, mock, type MockSwitch } from './mock.ts'
import { createOpenai } from './openai.ts'
import type { Provider } from './provider.ts'

/** Endpoints that a provider without them answers by way of a chat completion. */
const TRANSLATIONS: Partial<Record<EndpointName, Translation>> = { responses, messages }
/** A canned answer is a chat completion. */
const MOCKED: readonly EndpointName[] = ['chat']

/**
 * Makes the function that finds who serves a bundle: the mock when one of its switches is set, else its provider's family.
 * @param limits Shorter ones are for tests.
 */
export function createProviders(outbound: Outbound, limits: CallLimits = CALL_LIMITS) {
  const families: Record<ProviderFamily, Provider> = {
    openai: createOpenai(outbound, limits),
    azure: createAzure(outbound, limits),
    anthropic: lazily(async () => (await import('./anthropic.ts')).createAnthropic(outbound, limits)),
    gemini: lazily(async () => (await import('./gemini.ts')).createGemini(outbound, limits)),
    vertex: lazily(async () => (await import('./vertex.ts')).createVertex(outbound, limits)),
    bedrock: lazily(async () => (await import('./bedrock.ts')).createBedrock(outbound, limits)),
    unserved,
  }
  return function providerOf(bundle: Pick<CredentialBundle, 'provider' | MockSwitch>): Provider {
    if (isMocked(bundle)) return served(mock, MOCKED, 'plain')
    const { family, native } = findProvider(bundle.provider) ?? { family: 'unserved', native: [] }
    return served(families[family], native, RICH.has(family) ? 'rich' : 'plain')
  }
}

/**
 * A family that is loaded when it is first called: its packages take half a second and some thirty megabytes, which a worker
 * without such a deployment never needs.
 */
function lazily(load: () => Promise<Provider>): Provider {
  let loading: Promise<Provider> | null = null
  return {
    async call(call) {
      loading ??= load()
      return (await loading).call(call)
    },
  }
}

/** Families whose chat completions are made here, of all that they are told: signed thinking, marks of a cache, files. */
const RICH: ReadonlySet<ProviderFamily> = new Set(['anthropic', 'gemini', 'vertex', 'bedrock'])

/** Asked for what it has, a provider is called as it is; for something else by way of a chat completion. */
function served(provider: Provider, native: readonly EndpointName[], dialect: ChatDialect): Provider {
  return {
    async call(call) {
      const isNative = native.includes(call.endpoint)
      const translation = isNative ? null : (TRANSLATIONS[call.endpoint] ?? null)
      if (!translation && !isNative) return unserved.call(call)
      try {
        return await (translation ? translated(provider, translation, dialect) : provider).call(call)
      } catch {
        // A call that could not even be built has an end like any other: a job must not hang on it.
        return { kind: 'error', error: ownFault() }
      }
    },
  }
}

/** A plan made by another version may name a provider that this worker can't call; its key is then sent nowhere. */
const unserved: Provider = {
  call: ({ bundle, endpoint }) => {
    const message = `This gateway can't call the provider ${bundle.provider} for ${endpoint}.`
    return Promise.resolve({ kind: 'error', error: plainError('bad_request', message) })
  },
}
