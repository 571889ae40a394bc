import { findProvider } from '../../shared/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { createAzure } from './azure.ts'
import { ownFault, plainError } from './classify.ts'
import { mock } from './mock.ts'
import { createOpenai } from './openai.ts'
import type { Provider } from './provider.ts'

/** Makes the function that finds who serves a bundle: its `mock_response`, else its provider's family. */
export function createProviders(outbound: Outbound) {
  const families = {
    openai: withoutThrow(createOpenai(outbound)),
    azure: withoutThrow(createAzure(outbound)),
    unserved,
  }
  const canned = withoutThrow(mock)
  return function providerOf(bundle: Pick<CredentialBundle, 'provider' | 'mock_response'>): Provider {
    if (bundle.mock_response !== undefined && bundle.mock_response !== null) return canned
    return families[findProvider(bundle.provider)?.family ?? 'unserved']
  }
}

/** A call that could not even be built has an end like any other: a job must not hang on it. */
function withoutThrow(provider: Provider): Provider {
  return {
    async chat(call) {
      try {
        return await provider.chat(call)
      } catch {
        return { kind: 'error', error: ownFault() }
      }
    },
  }
}

/** A plan made by another version may name a provider that this worker can't call; its key is then sent nowhere. */
const unserved: Provider = {
  chat: ({ bundle }) => {
    const message = `This gateway can't call the provider ${bundle.provider}.`
    return Promise.resolve({ kind: 'error', error: plainError('bad_request', message) })
  },
}
