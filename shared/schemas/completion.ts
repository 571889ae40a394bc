import { z } from 'zod'
import { JobOptions } from './job.ts'

/** The tenant's own end user, given by the tenant. Half a surrogate pair would make one customer of two in UTF-8. */
export const Customer = z
  .string()
  .min(1)
  .max(256)
  .refine((text) => text.isWellFormed(), 'It must be well-formed Unicode')

/**
 * OpenAI's chat completion request as far as the gateway looks at it. Loose on purpose: every other field goes to the
 * provider as it came, only `job` and `customer` are taken out (and the credential fields, by the plan).
 */
export const ChatCompletionRequest = z.looseObject({
  model: z.string().min(1).max(512),
  messages: z.array(z.unknown()).min(1),
  job: JobOptions.optional(),
  customer: Customer.nullish(),
})
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>

/** OpenAI's chat completion as we promise it; the bytes are the provider's own and are not checked against this. */
export const ChatCompletion = z.looseObject({
  id: z.string(),
  object: z.string(),
  created: z.number(),
  model: z.string(),
  choices: z.array(z.looseObject({})),
  usage: z.looseObject({}).nullish(),
})

/** What `POST /v1/jobs` takes: an endpoint, its request body, and the options that `job` has elsewhere. */
export const JobRequest = z.strictObject({
  endpoint: z.string(),
  body: z.looseObject({ model: z.string().min(1).max(512), messages: z.array(z.unknown()).min(1) }),
  customer: Customer.nullish(),
  ...JobOptions.shape,
})
export type JobRequest = z.infer<typeof JobRequest>
