import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'
import { randomPart } from './random.ts'

// Owners come again with every request; their names are worked out once.
const OWNERS_MAX = 1_000

/**
 * Makes and checks the ids and keyed fingerprints of one installation. All of them hang on `GATEWAY_ID_SECRET`,
 * which must stay the same for as long as anything is stored.
 */
export function createIds(idSecret: string) {
  const secret = createSecretKey(Buffer.from(idSecret))
  const owners = new Map<string, string>()
  let lastMs = 0
  let count = 0

  /** Keyed HMAC-SHA256 over the parts, base64url, 22 characters (132 bits). Parts can't run into each other. */
  function fingerprint(purpose: string, ...parts: string[]): string {
    const hmac = createHmac('sha256', secret).update(purpose)
    for (const part of parts) hmac.update(`\0${Buffer.byteLength(part)}:`).update(part)
    return hmac.digest('base64url').slice(0, 22)
  }

  function tag(tenant: string, body: string): string {
    return createHmac('sha256', secret).update(`job\0${tenant}\0${body}`).digest('hex').slice(0, 12)
  }

  function newId(prefix: string, tenant: string, nowMs = Date.now()): string {
    count = nowMs === lastMs ? (count + 1) & 0xffff : 0
    lastMs = nowMs
    const time = nowMs.toString(16).padStart(12, '0') + count.toString(16).padStart(4, '0')
    const body = time + randomPart(6).toString('hex')
    return `${prefix}${body}${tag(tenant, body)}`
  }

  function isOwn(prefix: string, tenant: string, id: string): boolean {
    const [, body, given] = /^([0-9a-f]{28})([0-9a-f]{12})$/.exec(id.slice(prefix.length)) ?? []
    if (!id.startsWith(prefix) || body === undefined || given === undefined) return false
    return timingSafeEqual(Buffer.from(tag(tenant, body)), Buffer.from(given))
  }

  return {
    fingerprint,

    /** Whose deployments, line and limits they are: an opaque name of a tenant's customer (null: the tenant itself). */
    ownerId(tenant: string, customer: string | null): string {
      const name = `${tenant}\0${customer ?? ''}`
      const known = owners.get(name)
      if (known !== undefined) return known
      const id = fingerprint('owner', tenant, customer ?? '')
      if (owners.size >= OWNERS_MAX) owners.clear()
      owners.set(name, id)
      return id
    },

    /**
     * A job id: `job_`, 12 hex digits of milliseconds and 4 of a count within them (so ids sort by time), 12 random, and 12
     * of a keyed tag over tenant and id. The tag tells a purged job (410) from one that never was (404) without keeping a
     * tombstone.
     */
    newJobId: (tenant: string, nowMs?: number): string => newId('job_', tenant, nowMs),

    /** Ids of batches (`batch_`) and files (`file-`), made like those of jobs. */
    newBatchId: (tenant: string, nowMs?: number): string => newId('batch_', tenant, nowMs),
    newFileId: (tenant: string, nowMs?: number): string => newId('file-', tenant, nowMs),
    newCredentialId: (tenant: string, nowMs?: number): string => newId('cred_', tenant, nowMs),
    /** And those of webhook endpoints. */
    newWebhookEndpointId: (tenant: string, nowMs?: number): string => newId('whe_', tenant, nowMs),

    /** The id of one of the two files that a batch's results are read as: the same however often it is made. */
    outputFileId: (batchId: string, part: 'output' | 'error'): string =>
      `file-${fingerprint('output file', batchId, part).replaceAll('-', 'A').replaceAll('_', 'B')}`,

    /** The id of the file that a tenant's usage of a UTC day is exported to. */
    usageFileId: (tenant: string, day: number): string =>
      `file-${fingerprint('usage file', tenant, String(day)).replaceAll('-', 'A').replaceAll('_', 'B')}`,

    /** Whether this installation made this id for this tenant. */
    isOwnJobId: (tenant: string, id: string): boolean => isOwn('job_', tenant, id),
    isOwnBatchId: (tenant: string, id: string): boolean => isOwn('batch_', tenant, id),
    isOwnWebhookEndpointId: (tenant: string, id: string): boolean => isOwn('whe_', tenant, id),
    isOwnCredentialId: (tenant: string, id: string): boolean => isOwn('cred_', tenant, id),
    /** Whether it can be one: whose an output file of a batch is, only its record says. */
    isOwnFileId: (tenant: string, id: string): boolean =>
      isOwn('file-', tenant, id) || /^file-[A-Za-z0-9]{22}$/.test(id),

    /** The event of a job's end: one for each end, the same however often it is announced. */
    eventId(jobId: string, type: string): string {
      return `evt_${fingerprint('event', jobId, type).replaceAll('-', 'A').replaceAll('_', 'B')}`
    },

    /** The delivery of an event to one endpoint (`job`: the job's own webhook): one, however often it is made. */
    deliveryId(eventId: string, endpoint: string): string {
      return `dlv_${fingerprint('delivery', eventId, endpoint).replaceAll('-', 'A').replaceAll('_', 'B')}`
    },
  }
}

export type Ids = ReturnType<typeof createIds>

/** A request id for one HTTP call, sent as `x-request-id`. */
export function newRequestId(): string {
  return `req_${randomPart(12).toString('hex')}`
}
