import { z } from 'zod'

/** What a client may upload a file for. @see https://platform.openai.com/docs/api-reference/files/create */
export const UPLOAD_PURPOSES = ['assistants', 'batch', 'evals', 'fine-tune', 'user_data', 'vision'] as const

/** The form of an upload, as it is documented: it is read while it comes, and never whole. */
export const UploadForm = z.object({
  file: z.file().describe('With a filename.'),
  purpose: z.enum(UPLOAD_PURPOSES),
  'expires_after[anchor]': z.literal('created_at').optional(),
  'expires_after[seconds]': z
    .int()
    .min(3_600)
    .max(2_592_000)
    .optional()
    .describe('Without it the input of a batch is kept 30 days, any other file until it is deleted.'),
})

/** A file as OpenAI's SDKs read it; nullable fields are there as `null`, times are Unix seconds. */
export const File = z.object({
  id: z.string(),
  object: z.literal('file'),
  bytes: z.number().describe('How much `/content` gives.'),
  created_at: z.number(),
  expires_at: z.number().nullable(),
  filename: z.string(),
  purpose: z.string().describe('`batch_output`: results of a batch; else what it was uploaded for.'),
  status: z.literal('processed'),
  status_details: z.null(),
})
export type File = z.infer<typeof File>

/** A page of files in OpenAI's list shape. */
export const FileList = z.object({
  object: z.literal('list'),
  data: z.array(File),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

/** Query of `GET /files`, with OpenAI's limits. */
export const FileListQuery = z.strictObject({
  after: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(10_000).default(10_000),
  order: z.enum(['asc', 'desc']).default('desc'),
  purpose: z.string().optional(),
})

/** What is answered when a file was deleted. */
export const DeletedFile = z.object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) })

/** `expires_after`: seconds, from 1 hour to 30 days, after the file was created. */
export const ExpiresAfter = z.strictObject({
  anchor: z.literal('created_at'),
  seconds: z.coerce.number().int().min(3_600).max(2_592_000),
})
