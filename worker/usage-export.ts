import type { FileStore } from '../shared/files/file-store.ts'
import type { Files } from '../shared/files/files.ts'
import type { Ids } from '../shared/ids.ts'
import type { Logger } from '../shared/log.ts'
import { contentName, sealedFrameBytes, sealFrames } from '../shared/files/sealed-file.ts'
import type { Sealer } from '../shared/seal.ts'
import type { Tenants } from '../shared/tenants/tenants.ts'
import { DAY_MS, type TenantDay, type UsageStore, type UsageSum } from '../shared/tenants/usage.ts'

/** Days of one round; more are the next round's. */
const DAYS_AT_ONCE = 20
/** A store that is away, or a tenant without room for a file, is asked again after so long; so is a day whose exporter died. */
const TAKEN_MS = 600_000
/** How long an export is kept, unless it is deleted before: more than a year of accounts, and not for ever. */
const KEPT_MS = 400 * DAY_MS

export type UsageExportDeps = {
  usage: Pick<UsageStore, 'read' | 'takeDays' | 'dayDone'>
  files: Pick<Files, 'read' | 'reserve' | 'create' | 'abandon'>
  tenants: Pick<Tenants, 'get'>
  store: Pick<FileStore, 'write'>
  sealer: Sealer
  ids: Ids
  log: Logger
}

/**
 * Makes a file of each tenant's usage of a day that is over: lines of JSON, sealed as all files are, to be read and deleted
 * through the Files API. Its id follows from tenant and day, and whoever makes it has taken the day for a while: there is one,
 * however many workers there are and whichever of them die.
 */
export async function exportUsage(deps: UsageExportDeps): Promise<void> {
  for (const day of await deps.usage.takeDays(DAYS_AT_ONCE, TAKEN_MS)) {
    try {
      await exportDay(day, deps)
      await deps.usage.dayDone(day)
    } catch (error) {
      const facts = { err: error, tenant: day.tenant, day: dateOf(day) }
      deps.log.warn(facts, 'The usage of a day could not be exported; trying again in ten minutes')
    }
  }
}

async function exportDay(day: TenantDay, deps: UsageExportDeps): Promise<void> {
  const { tenant } = day
  const { files, sealer } = deps
  const id = deps.ids.usageFileId(tenant, day.day)
  const sums = await deps.usage.read(day)
  if (sums.length === 0 || (await files.read(tenant, id))) return
  const retention = (await deps.tenants.get(tenant))?.retention.files_seconds
  await files.reserve(tenant, id)
  try {
    const sealed = sealer.record({ tenant, kind: 'file', id })
    let bytes = 0
    const count = (frame: number) => (bytes += frame)
    await deps.store.write(contentName(id), sealFrames(sealed, linesOf(day, sums), count))
    await files.create({
      id,
      tenant,
      bytes,
      purpose: 'usage',
      filename: `usage-${dateOf(day)}.jsonl`,
      frameBytes: sealedFrameBytes(sealed),
      expiresInMs: Math.min(KEPT_MS, (retention ?? Infinity) * 1000),
      lines: null,
      keys: null,
    })
  } catch (error) {
    await files.abandon(tenant, id)
    throw error
  }
}

// oxlint-disable-next-line typescript/require-await -- the store takes what comes in its time
async function* linesOf(day: TenantDay, sums: readonly UsageSum[]): AsyncIterable<Buffer> {
  for (const sum of sums) yield Buffer.from(`${JSON.stringify(lineOf(day, sum))}\n`)
}

/** A line of an export (docs/tenants.md). */
function lineOf(day: TenantDay, sum: UsageSum): Record<string, unknown> {
  return {
    day: dateOf(day),
    tenant: day.tenant,
    customer: sum.customer,
    key: sum.key,
    model: sum.model,
    requests: sum.requests,
    completed: sum.completed,
    input_tokens: sum.inputTokens,
    output_tokens: sum.outputTokens,
    cost_usd: sum.costUsd,
  }
}

function dateOf({ day }: TenantDay): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10)
}
