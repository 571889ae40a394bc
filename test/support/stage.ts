import { afterAll, beforeAll, beforeEach } from 'vitest'
import { startGateway, type Gateway, type GatewayOptions } from './gateway.ts'
import { completion, startProvider, type Script, type TestProvider } from './provider.ts'

/** The provider and the gateway of this test file: there within its hooks and tests, once it has called `useGateway`. */
export let provider: TestProvider
export let gateway: Gateway
let keyNumber = 0

type StageOptions = GatewayOptions & {
  /** What the provider answers from the start of each test on; "ok" unless given. */
  answer?: Script
}

/**
 * Registers the hooks of a test file whose tests share one provider and one gateway: both are started before its first
 * test and stopped after its last; each test begins with an empty ledger.
 * @param options a function when they name the provider, which is started first
 */
export function useGateway(options: StageOptions | (() => StageOptions) = {}): void {
  let script: Script

  beforeAll(async () => {
    provider = await startProvider()
    const { answer = () => completion('ok'), ...own } = typeof options === 'function' ? options() : options
    script = answer
    gateway = await startGateway(own)
  })

  afterAll(async () => {
    await gateway?.stop()
    await provider?.close()
  })

  beforeEach(() => {
    provider.ledger.length = 0
    provider.answer(script)
  })
}

/** A provider key that no other test of the file uses: no test meets a cooldown of another's making. */
export const freshKey = (name = 'own'): string => `sk-${name}-${(keyNumber += 1)}`
