import { afterAll, beforeAll, beforeEach, inject } from 'vitest'
import { startGateway, type Gateway, type GatewayOptions } from './gateway.ts'
import { completion, startProvider, type Script, type TestProvider } from './provider.ts'
import { noteShared } from './shared-gateways.ts'

/** The "minute" of limits (rpm, tpm and their like) of the shared gateway, in milliseconds. */
export const SHARED_MINUTE_MS = 3_000

/** How long the shared gateway waits for the next file that wants it: then a start of its processes costs less than their rest. */
const KEPT_MS = 15_000

/** The provider and the gateway of this test file: there within its hooks and tests, once it has called `useGateway`. */
export let provider: TestProvider
export let gateway: Gateway
let shared: Promise<Gateway> | null = null
let sharedEnds: NodeJS.Timeout | undefined
let keyNumber = 0

type StageOptions = GatewayOptions & {
  /** What the provider answers from the start of each test on; "ok" unless given. */
  answer?: Script
}

/**
 * Registers the hooks of a test file whose tests share one provider and one gateway: both are there before its first
 * test, and each test begins with an empty ledger. A file that asks for settings has a gateway of its own. One that does
 * not shares one of two workers with other files, whose jobs and tenants it can meet: it counts only what is its own. It
 * may kill processes; what is missing or too many after it is put right.
 * @param options a function when they name the provider, which is started first
 */
export function useGateway(options: StageOptions | (() => StageOptions) = {}): void {
  let script: Script
  let own: Gateway | undefined

  beforeAll(async () => {
    provider = await startProvider()
    const { answer = () => completion('ok'), ...settings } =
      typeof options === 'function' ? options() : options
    script = answer
    if (Object.keys(settings).length > 0) own = await startGateway(settings)
    gateway = own ?? (await sharedGateway())
  })

  afterAll(async () => {
    if (own) await own.stop()
    else endSharedLater()
    await provider?.close()
  })

  beforeEach(() => {
    provider.ledger.length = 0
    provider.answer(script)
  })
}

/** The gateway of all files of this process that ask for no settings. */
async function sharedGateway(): Promise<Gateway> {
  clearTimeout(sharedEnds)
  const folder = inject('runFolder')
  shared ??= startGateway({
    workers: 2,
    env: {
      GATEWAY_RETRY_INITIAL_MS: '20',
      GATEWAY_LIMIT_WINDOW_MS: String(SHARED_MINUTE_MS),
      GATEWAY_BATCH_CANCEL_MS: '300',
      GATEWAY_WEBHOOK_SCHEDULE_S: '0,0.3,0.3,1',
      GATEWAY_WEBHOOK_TIMEOUT_MS: '10000',
      GATEWAY_WEBHOOK_BREAKER_MS: '200',
      GATEWAY_WEBHOOK_RAMP_MS: '200',
    },
    onLaunch: (pid) => noteShared(folder, 'pid', pid),
  }).then((started) => {
    noteShared(folder, 'keys', started.prefix)
    return started
  })
  const ready = await shared.catch((error: unknown) => {
    shared = null
    throw error
  })
  await ready.mend()
  return ready
}

/** Unless another file wants it before. One that does not end fails the run; what the run's end cuts short, its teardown sees to. */
function endSharedLater(): void {
  const ending = shared
  sharedEnds = setTimeout(() => {
    shared = null
    void ending?.then((one) => one.stop())
  }, KEPT_MS)
  sharedEnds.unref()
}

/** A provider key that no other test of the file uses: no test meets a cooldown of another's making. */
export const freshKey = (name = 'own'): string => `sk-${name}-${(keyNumber += 1)}`
