import type { Redis } from 'ioredis'
import type { DeliveryQueue } from '../shared/webhooks/delivery-queue.ts'
import { createDeliveryLog } from '../shared/webhooks/delivery-log.ts'
import type { DeliveryTimes } from '../shared/webhooks/delivery-targets.ts'
import { createEvents } from '../shared/webhooks/events.ts'
import type { FileStore } from '../shared/files/file-store.ts'
import type { Files } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { Sealer } from '../shared/seal.ts'
import { createTenants } from '../shared/tenants/tenants.ts'
import { createUsage } from '../shared/tenants/usage.ts'
import type { Window } from '../shared/jobs/window.ts'
import { beside } from './beside.ts'
import { createRetention } from './retention.ts'
import { exportUsage } from './usage-export.ts'

/** What the sweeper does for tenants, joined up: what they keep no longer, what they have used. All of it is safe to do twice. */
export function openTenantChores(
  deps: DeliveryTimes & {
    redis: Redis
    keys: Keys
    ids: Ids
    sealer: Sealer
    store: FileStore
    files: Files
    window: Window
    queue: DeliveryQueue
    log: Logger
    /** Whether each day's usage becomes a file. */
    isUsageExported: boolean
  },
): (() => Promise<void>)[] {
  const { redis, keys, sealer, isUsageExported: isExported } = deps
  const tenants = createTenants(deps)
  const usage = createUsage(deps)
  const events = createEvents({ redis, keys, sealer })
  const deliveries = createDeliveryLog(deps)
  const exportDays = beside(() => exportUsage({ ...deps, usage, tenants }))

  /** A day is exported when it is over and nothing of it is left on the list. */
  async function sumUp(): Promise<void> {
    const isWhole = await usage.fold({ isExported })
    if (isWhole && isExported) await exportDays()
  }

  return [...createRetention({ ...deps, tenants, events, deliveries }), sumUp]
}
