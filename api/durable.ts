import type { FastifyRequest } from 'fastify'
import type { Batches } from '../shared/batches/batches.ts'
import { openDurability, type Durability } from '../shared/durability.ts'
import { UnconfirmedError } from '../shared/errors.ts'
import type { Jobs } from '../shared/jobs/jobs.ts'
import type { Keys } from '../shared/keys.ts'
import type { Logger } from '../shared/log.ts'
import type { DurabilityOption } from '../shared/schemas/job.ts'
import { readJobHeaders } from './job-headers.ts'

/** What is asked before anything is stored. @throws {DurabilityUnavailableError} @see Durability.require */
export type DurabilityCheck = (tenant: string, param: string | null) => Promise<void>

/**
 * Whether what a request makes is to be on the disk of Redis first: its header says so, its body, or its tenant's setting, which
 * nothing takes away.
 * @throws {DurabilityUnavailableError} when that can't be waited for.
 */
export async function durabilityOf(
  request: FastifyRequest,
  asked: DurabilityOption | null | undefined,
  path: string,
  { requireDurability }: { requireDurability: DurabilityCheck },
): Promise<{ durability?: 'fsync' }> {
  const { durability: header } = readJobHeaders(request.headers)
  const isTenants = request.principal.record?.durability === 'fsync'
  if (!isTenants && (header ?? asked) !== 'fsync') return {}
  await requireDurability(request.tenant, isTenants ? null : header ? 'X-Job-Durability' : path)
  return { durability: 'fsync' }
}

/** Who waits until what was stored is on the disk. `isFoundAgain`: the same request, sent again, finds it. */
type Stored = { tenant: string; id: string; isFoundAgain: boolean }

/**
 * Stores whose new things, where that was asked for, are on the disk of Redis before anybody is told of them; also those that
 * were found again, since the call that stored them may not have waited. A sync call's job is waited for by its worker, before
 * the provider is called: nobody is told of it before that.
 */
export function createDurable({
  durability,
  keysOf,
}: {
  durability: Durability
  /** Keys of the shard where a tenant's things lie. */
  keysOf: (tenant: string) => Keys
}) {
  async function wait(
    { tenant, id, isFoundAgain }: Stored,
    keyOf: (keys: Keys) => string,
    path: string,
  ): Promise<void> {
    const keys = keysOf(tenant)
    const key = keyOf(keys)
    const kept = await durability.wait(keys.fsyncMark, async (redis) => (await redis.exists(key)) === 1)
    if (kept !== 'kept') throw new UnconfirmedError(id, path, isFoundAgain)
  }

  return {
    require: ((tenant, param) =>
      durability.require(keysOf(tenant).fsyncMark, param)) satisfies DurabilityCheck,

    jobs: (jobs: Jobs): Jobs => ({
      ...jobs,
      async create(input) {
        const result = await jobs.create(input)
        if (input.plan.durability !== 'fsync' || input.mode === 'sync') return result
        if (!('id' in result) || result.kind === 'retried') return result
        const { tenant, idempotency, sameCall = null } = input
        const { id } = result
        const isFoundAgain = idempotency !== null || sameCall !== null
        await wait({ tenant, id, isFoundAgain }, (keys) => keys.job(id), `/v1/jobs/${id}`)
        return result
      },
    }),

    batches: (batches: Batches): Batches => ({
      ...batches,
      async create(input) {
        const result = await batches.create(input)
        if (input.durability !== 'fsync' || !('id' in result)) return result
        const { tenant, idempotency } = input
        const { id } = result
        const isFoundAgain = idempotency !== null
        await wait({ tenant, id, isFoundAgain }, (keys) => keys.batch(id), `/v1/batches/${id}`)
        return result
      },
    }),

    /** Waits for the record of a file; its bytes are in the file store by then. */
    file: (tenant: string, id: string) =>
      wait({ tenant, id, isFoundAgain: false }, (keys) => keys.file(id), `/v1/files/${id}`),
  }
}

export type Durable = ReturnType<typeof createDurable>

/** As above, with connections of its own; says in the log when this Redis can't do it. */
export function openDurable(redis: { url: string; fsyncTimeoutMs: number }, keys: Keys, log: Logger) {
  const durability = openDurability(redis, log)
  void sayWhyNot(durability, keys, log)
  return { ...createDurable({ durability, keysOf: () => keys }), close: () => durability.close() }
}

async function sayWhyNot(durability: Durability, keys: Keys, log: Logger): Promise<void> {
  try {
    const reason = await durability.whyNot(keys.fsyncMark)
    if (reason !== null) log.info(`Requests for durability "fsync" are refused: ${reason}`)
  } catch {
    // Redis is away: it is asked again when the first one comes.
  }
}
