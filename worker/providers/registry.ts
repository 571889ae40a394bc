import { findProvider } from '../../shared/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../outbound.ts'
import { createAzure } from './azure.ts'
import { CALL_LIMITS, type CallLimits } from './chat-completion.ts'
import { ownFault, plainError } from './classify.ts'
import { isMocked, mock, type MockSwitch } from './mock.ts'
import { createOpenai } from './openai.ts'
import type { Provider } from './provider.ts'

/**
 * Makes the function that finds who serves a bundle: the mock when one of its switches is set, else its provider's family.
 * @param limits Shorter ones are for tests.
 */
export function createProviders(outbound: Outbound, limits: CallLimits = CALL_LIMITS) {
  const families = {
    openai: withoutThrow(createOpenai(outbound, limits)),
    azure: withoutThrow(createAzure(outbound, limits)),
    unserved,
  }
  const canned = withoutThrow(mock)
  return function providerOf(bundle: Pick<CredentialBundle, 'provider' | MockSwitch>): Provider {
    if (isMocked(bundle)) return canned
    return families[findProvider(bundle.provider)?.family ?? 'unserved']
  }
}

/** A call that could not even be built has an end like any other: a job must not hang on it. */
function withoutThrow(provider: Provider): Provider {
  return {
    async call(call) {
      try {
        return await provider.call(call)
      } catch {
        return { kind: 'error', error: ownFault() }
      }
    },
  }
}

/** A plan made by another version may name a provider that this worker can't call; its key is then sent nowhere. */
const unserved: Provider = {
  call: ({ bundle }) => {
    const message = `This gateway can't call the provider ${bundle.provider}.`
    return Promise.resolve({ kind: 'error', error: plainError('bad_request', message) })
  },
}
