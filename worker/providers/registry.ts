import { findProvider } from '../../shared/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { createAzure } from './azure.ts'
import { plainError } from './classify.ts'
import { mock } from './mock.ts'
import { createOpenai } from './openai.ts'
import type { Provider } from './provider.ts'

/** Makes the function that finds who serves a bundle: its `mock_response`, else its provider's family. */
export function createProviders(outbound: Outbound) {
  const families = { openai: createOpenai(outbound), azure: createAzure(outbound), unserved }
  return function providerOf(bundle: Pick<CredentialBundle, 'provider' | 'mock_response'>): Provider {
    if (bundle.mock_response !== undefined && bundle.mock_response !== null) return mock
    return families[findProvider(bundle.provider)?.family ?? 'unserved']
  }
}

/** A plan made by another version may name a provider that this worker can't call; its key is then sent nowhere. */
const unserved: Provider = {
  chat: ({ bundle }) => {
    const message = `This gateway can't call the provider ${bundle.provider}.`
    return Promise.resolve({ kind: 'error', error: plainError('bad_request', message) })
  },
}
