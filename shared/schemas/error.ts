import { z } from 'zod'

/** Every error leaves in OpenAI's shape, which the official SDKs take apart; people match on `code`. */
export const ErrorResponse = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    /** JSON path of the offending field. */
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
})
export type ErrorResponse = z.infer<typeof ErrorResponse>
