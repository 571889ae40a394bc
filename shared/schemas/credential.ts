import { z } from 'zod'
import { Customer } from './completion.ts'
import { CONNECTION_FIELDS, LOCATION_FIELDS, PROVIDER_SECRETS } from './field-names.ts'
import { Metadata } from './job.ts'

/** Fields of a bundle, by LiteLLM's names: what each must be, the check of the whole says, as for a request. */
export const BUNDLE_FIELDS = [...CONNECTION_FIELDS, ...PROVIDER_SECRETS, ...LOCATION_FIELDS] as const
type BundleField = (typeof BUNDLE_FIELDS)[number]

const Given = z.unknown().optional()
// Each name with the same schema: `fromEntries` can't tell that all of them are there.
const bundle = Object.fromEntries(BUNDLE_FIELDS.map((name) => [name, Given])) as Record<
  BundleField,
  typeof Given
>

const options = {
  name: z.string().min(1).max(256).nullish(),
  metadata: Metadata.nullish(),
  provider: z.string().min(1).max(64).nullish().describe('The one provider that the key is for.'),
  user_config: z.looseObject({}).nullish().describe('A whole config, instead of a bundle.'),
  ...bundle,
}

/** What a new stored credential is made of: the fields of one bundle, or a whole `user_config`. */
export const CredentialRequest = z.strictObject({ customer: Customer.nullish(), ...options })
export type CredentialRequest = z.infer<typeof CredentialRequest>

/** What may be changed of one: name and metadata, and its secret part as a whole. */
export const CredentialUpdate = z.strictObject(options)
export type CredentialUpdate = z.infer<typeof CredentialUpdate>

/** A stored credential as it is shown: nothing of it that is secret. Times are Unix seconds. */
export const Credential = z.object({
  id: z.string(),
  object: z.literal('credential'),
  name: z.string().nullable(),
  /** Whose requests may name it; null: those without a customer. */
  customer: z.string().nullable(),
  kind: z.enum(['bundle', 'user_config']),
  /** The one that its key is for, as it was given; null: the model of a request says it. */
  provider: z.string().nullable(),
  /** Of its base; null when none was given. */
  host: z.string().nullable(),
  /** The last four characters of an `api_key` of 12 or more. */
  key_hint: z.string().nullable(),
  metadata: z.record(z.string(), z.string()),
  created_at: z.int(),
  updated_at: z.int(),
})
export type Credential = z.infer<typeof Credential>

/** A page of stored credentials. */
export const CredentialList = z.object({
  object: z.literal('list'),
  data: z.array(Credential),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

/** What is said of one that is deleted. */
export const DeletedCredential = z.object({
  id: z.string(),
  object: z.literal('credential'),
  deleted: z.literal(true),
})
