import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { allProviders, type ProviderEntry } from '../../shared/settings/provider-catalog.ts'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../../worker/outbound.ts'
import { createProviders } from '../../worker/providers/registry.ts'
import { completion, startProvider, type TestProvider } from '../support/provider.ts'
import { poisonEnvironment } from './model-calls.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

let upstream: TestProvider
let outbound: Outbound
beforeAll(async () => {
  upstream = await startProvider()
  outbound = createLocalOutbound()
})
beforeEach(() => {
  upstream.ledger.length = 0
  upstream.answer(() => completion('hello'))
  poisonEnvironment()
  for (const { keyVariables, authVariables, baseVariables } of allProviders()) {
    const names = [...keyVariables, ...baseVariables, ...Object.values(authVariables).flat()]
    for (const name of names) vi.stubEnv(name, `https://canary.invalid/${name}`)
  }
})
afterEach(() => void vi.unstubAllEnvs())
afterAll(async () => {
  await outbound.close()
  await upstream.close()
})

/** Vertex AI gets its token elsewhere, and has a test of its own. */
const served = allProviders().filter(({ family }) => family !== 'unserved' && family !== 'vertex')
const OWN = { api_key: 'own-api-key', azure_ad_token: 'own-ad-token', aws_access_key_id: 'OWNACCESSKEY' }

/** A bundle at our server with these fields of a credential. */
function bundleWith(provider: ProviderEntry, fields: readonly string[]): Partial<CredentialBundle> {
  const valueOf = (field: string) =>
    Object.entries(OWN).find(([name]) => name === field)?.[1] ?? `own-${field}`
  const auth = fields.filter((field) => provider.authFields.includes(field))
  return {
    provider: provider.name,
    model: 'some-model',
    api_base: upstream.url,
    api_key: fields.includes('api_key') ? OWN.api_key : null,
    azure_ad_token: fields.includes('azure_ad_token') ? OWN.azure_ad_token : null,
    auth: {
      ...Object.fromEntries(auth.map((field) => [field, valueOf(field)])),
      ...(provider.places.includes('aws_region_name') && { aws_region_name: 'us-east-1' }),
    },
  }
}

async function callEach(provider: ProviderEntry, bundle: Partial<CredentialBundle>): Promise<void> {
  for (const endpoint of provider.native) {
    const call = callOf(bundle, undefined, { endpoint })
    await createProviders(outbound)(call.bundle).call(call)
  }
}

describe("a provider is called with its bundle's own credentials and nothing of the process's environment", () => {
  test.each(served.map((provider) => [provider.name, provider] as const))('%s', async (_name, provider) => {
    // An app of Azure logs in elsewhere, and has a test of its own.
    const sets = provider.credentials.filter(({ fields }) => !fields.includes('client_secret'))
    for (const { fields } of sets) await callEach(provider, bundleWith(provider, fields))
    const sent = JSON.stringify(upstream.ledger)
    expect(sent).not.toContain('canary')
    expect(upstream.ledger.length).toBeGreaterThan(0)
    const carried = upstream.ledger.map(({ headers }) => JSON.stringify(headers))
    expect(carried.every((headers) => /own-api-key|own-ad-token|OWNACCESSKEY/.test(headers))).toBe(true)
    // A secret that signs is itself never sent, and no key stands in a URL or body.
    expect(sent).not.toContain('own-aws_secret_access_key')
    const others = JSON.stringify(upstream.ledger.map(({ path, body }) => [path, body]))
    expect(others).not.toMatch(/own-api-key|own-ad-token|OWNACCESSKEY/)
  })

  test.each(served.map((provider) => [provider.name, provider] as const))(
    '%s without any is sent no credential',
    async (_name, provider) => {
      await callEach(provider, bundleWith(provider, []))
      const names = upstream.ledger.flatMap(({ headers }) => Object.keys(headers))
      expect(names.filter((name) => /authorization|key|token|amz/.test(name))).toEqual([])
      expect(JSON.stringify(upstream.ledger)).not.toContain('canary')
    },
  )
})
