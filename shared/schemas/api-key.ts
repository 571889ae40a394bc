import { z } from 'zod'

/** What a key may be used for: to submit, change and delete; to read; to look after its tenant's keys and customers. */
export const SCOPES = ['submit', 'read', 'admin'] as const
export const Scope = z.enum(SCOPES)
export type Scope = z.infer<typeof Scope>

/** Of a key whose maker said nothing. */
export const SCOPES_DEFAULT: readonly Scope[] = ['submit', 'read']

const PATTERNS_MAX = 500
const ModelPattern = z
  .string()
  .max(512)
  .regex(/^(?:[^*]+\*?|\*)$/, 'It must be a model, or how models begin and a `*` behind it')
const isUnique = (list: readonly string[]): boolean => new Set(list).size === list.length
const TWICE = 'It must name nothing twice'

const settings = {
  name: z.string().min(1).max(256).nullable(),
  /** Unix seconds. */
  expires_at: z.int().nullable().describe('Unix seconds; null: never.'),
  scopes: z.array(Scope).min(1).refine(isUnique, TWICE),
  models: z
    .array(ModelPattern)
    .min(1)
    .max(PATTERNS_MAX)
    .refine(isUnique, TWICE)
    .nullable()
    .describe('Models that may be asked for: names, or `gpt-4o*` for all that begin so; null: all of them.'),
  endpoints: z
    .array(z.string().max(256))
    .min(1)
    .max(PATTERNS_MAX)
    .refine(isUnique, TWICE)
    .nullable()
    .describe('Endpoints that may be called, as `/v1/embeddings`; null: all of them.'),
}

/** A gateway key as stored and as shown: everything but the key itself. */
export const ApiKey = z.object({
  id: z.string(),
  object: z.literal('api_key').default('api_key'),
  tenant: z.string(),
  /** First and last characters, to tell keys apart in a list. */
  hint: z.string(),
  /** Unix seconds. */
  created_at: z.number().int(),
  // Records of before hold nothing of these.
  name: settings.name.default(null),
  expires_at: settings.expires_at.default(null),
  scopes: settings.scopes.default([...SCOPES_DEFAULT]),
  models: settings.models.default(null),
  endpoints: settings.endpoints.default(null),
})
export type ApiKey = z.infer<typeof ApiKey>

/** What may be said of a key when it is made, and changed later. */
export const ApiKeySettings = z.strictObject(settings).partial()
export type ApiKeySettings = z.infer<typeof ApiKeySettings>

/** A key as it is shown once, when it is made. */
export const NewApiKey = ApiKey.extend({ key: z.string().describe('Shown only here.') })
export type NewApiKey = z.infer<typeof NewApiKey>
