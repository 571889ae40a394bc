import { z } from 'zod'
import { JobOptions } from './job.ts'

/** The tenant's own end user, given by the tenant. Half a surrogate pair would make one customer of two in UTF-8. */
export const Customer = z
  .string()
  .min(1)
  .max(256)
  .refine((text) => text.isWellFormed(), 'It must be well-formed Unicode')

const Model = z.string().min(1).max(512)
const GATEWAY_FIELDS = {
  job: JobOptions.optional(),
  customer: Customer.nullish(),
  credential: z
    .string()
    .min(1)
    .max(256)
    .nullish()
    .describe('Id of a stored credential, instead of an `api_key` or a `user_config`.'),
}
const Stream = z.boolean().nullish()
const Given = z.unknown().refine((value) => value !== undefined && value !== null, 'It must be given')

/**
 * OpenAI's chat completion request as far as the gateway looks at it. Loose on purpose, as all of these: every other field goes
 * to the provider as it came, only `job` and `customer` are taken out (and the credential fields, by the plan).
 */
export const ChatCompletionRequest = z.looseObject({
  model: Model,
  messages: z.array(z.unknown()).min(1),
  stream: Stream,
  ...GATEWAY_FIELDS,
})

/** OpenAI's legacy completion. */
export const CompletionRequest = z.looseObject({
  model: Model,
  prompt: Given,
  stream: Stream,
  ...GATEWAY_FIELDS,
})

export const EmbeddingRequest = z.looseObject({ model: Model, input: Given, ...GATEWAY_FIELDS })

/** OpenAI lets the model out here. */
export const ModerationRequest = z.looseObject({
  model: Model.default('omni-moderation-latest'),
  input: Given,
  ...GATEWAY_FIELDS,
})

/** OpenAI's Responses API: `background: true` answers at once, `store: false` keeps no input for later. */
export const ResponseRequest = z.looseObject({
  model: Model,
  input: z.union([z.string(), z.array(z.looseObject({}))]).optional(),
  previous_response_id: z.string().nullish(),
  background: z.boolean().nullish(),
  store: z.boolean().nullish(),
  stream: Stream,
  ...GATEWAY_FIELDS,
})
export type ResponseRequest = z.infer<typeof ResponseRequest>

/** Anthropic's message. */
export const MessageRequest = z.looseObject({
  model: Model,
  messages: z.array(z.unknown()).min(1),
  max_tokens: z.int().min(1),
  stream: Stream,
  ...GATEWAY_FIELDS,
})

/** What a request of each endpoint must be, by the endpoint's name. */
export const REQUESTS = {
  chat: ChatCompletionRequest,
  responses: ResponseRequest,
  messages: MessageRequest,
  completions: CompletionRequest,
  embeddings: EmbeddingRequest,
  moderations: ModerationRequest,
}

/** What a call of any endpoint has in common. */
export type CompletionBody = Record<string, unknown> & {
  model: string
  stream?: boolean | null | undefined
  job?: JobOptions | undefined
  customer?: string | null | undefined
}

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
  body: z.looseObject({}),
  customer: Customer.nullish(),
  ...JobOptions.shape,
})
export type JobRequest = z.infer<typeof JobRequest>
