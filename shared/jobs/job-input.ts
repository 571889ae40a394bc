import type { Admission } from '../tenants/admission.ts'
import { packedFrom } from '../compression.ts'
import type { JobMeta } from './job-record.ts'
import { formatBundles, formatPlan } from './plan-text.ts'
import { formatMeta } from './record-texts.ts'
import { withoutLogins } from './response-echo.ts'
import type { JobWebhook, OnCrash } from '../schemas/job.ts'
import type { CredentialBundle, Plan } from '../schemas/plan.ts'
import type { Sealer } from '../seal.ts'

/** What a record takes beside what it holds: its names, counts and times, and its places in sorted sets. */
export const RECORD_BYTES = 600

/** One accepted completion, before it is stored. */
export type JobInput = {
  id: string
  tenant: string
  customer: string | null
  endpoint: string
  model: string
  /** `sync`: somebody holds the line. */
  mode: 'sync' | 'async'
  plan: Plan
  /** Null for the operator's deployments, whose keys never enter Redis. */
  bundles: CredentialBundle[] | null
  /** Body for the provider, gateway fields taken out. */
  body: Record<string, unknown>
  /** The body is kept as long as the result, but for logins of its tools, for whoever asks what was asked. */
  keepsRequest?: boolean
  webhook: JobWebhook | null
  metadata: Record<string, string>
  priority: 'high' | 'normal' | 'low'
  delayMs: number
  expiresInMs: number
  /** How long the record is kept after its end; 0 = until its result was delivered. */
  resultTtlMs: number
  onCrash: OnCrash
  warnings: string[]
  /** Keyed fingerprints of the idempotency key in its scope, and of the body it came with. */
  idempotency: { fingerprint: string; bodyHash: string } | null
  /** The gateway key that it came with; null for the master key. */
  keyId?: string | null
  /** Webhook endpoints of its tenant that are told of its end; all that want to hear of it unless given. */
  webhookEndpointIds?: readonly string[] | undefined
  /** Fields of the gateway that it came with and that hold no secret, for a retry. */
  asked?: Record<string, unknown>
  /** Names of those that were, or may have held, credentials. */
  erased?: readonly string[]
  /** The ended job that it runs again. */
  retryOf?: string
  /** Where its trace goes on; of one that is run again and not traced anew, that of the old one. */
  trace?: string | undefined
  /** Of a call whose answer goes back on its connection: what it is known by when that breaks. `isRetry`: it says it did. */
  sameCall?: { fingerprint: string; isRetry: boolean } | null
  /** The API process that holds a line for it, and is told its end. */
  replyTo?: string | null
  /** What its tenant and customer are limited to, and what it takes of that; null: nothing. */
  admission?: Admission | null
}

/** What does not change of it. */
export function metaOf(input: JobInput): JobMeta {
  return {
    endpoint: input.endpoint,
    model: input.model,
    mode: input.mode,
    customer: input.customer,
    metadata: input.metadata,
    priority: input.priority,
    onCrash: input.onCrash,
    warnings: input.warnings,
    attemptsMax: input.plan.max_attempts,
    resultTtlMs: input.resultTtlMs,
    ...(input.keyId ? { key: input.keyId } : {}),
    ...(input.webhookEndpointIds ? { endpoints: input.webhookEndpointIds } : {}),
    ...(input.erased?.length ? { erased: input.erased } : {}),
    ...(input.plan.durability ? { durability: input.plan.durability } : {}),
    ...(input.retryOf === undefined ? {} : { retryOf: input.retryOf }),
    ...(input.trace === undefined ? {} : { trace: input.trace }),
  }
}

/** The record's fields, and how many bytes it takes with what Redis needs around it. */
export function recordFields(
  input: JobInput,
  sealer: Sealer,
  owner: string,
): { fields: (string | Buffer)[]; bytes: number } {
  const sealed = sealer.record({ tenant: input.tenant, kind: 'job', id: input.id })
  const packFrom = packedFrom(input.mode)
  const { model } = input
  const fields: (string | Buffer)[] = [
    'meta',
    formatMeta(metaOf(input)),
    'plan',
    formatPlan(input.plan, { owner, model }),
  ]
  fields.push('req', sealed.seal('req', JSON.stringify(input.body), packFrom))
  if (input.keepsRequest)
    fields.push('kept', sealed.seal('kept', JSON.stringify(withoutLogins(input.body)), packFrom))
  if (input.webhook) fields.push('hook', sealed.seal('hook', JSON.stringify(input.webhook)))
  if (input.asked) fields.push('asked', sealed.seal('asked', JSON.stringify(input.asked)))
  if (input.idempotency) fields.push('idem', input.idempotency.fingerprint)
  if (input.replyTo) fields.push('caller', input.replyTo)
  if (input.bundles) fields.push('cred', sealed.seal('cred', formatBundles(input.bundles)))
  return { fields, bytes: fields.reduce((sum, field) => sum + field.length, RECORD_BYTES) }
}
