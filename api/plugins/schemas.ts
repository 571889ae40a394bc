import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { describeIssue } from '../../shared/schema-issues.ts'

/**
 * Checks what comes in by the routes' zod schemas, once. Replies are not checked against theirs: they are our own
 * objects or a provider's bytes, and a response schema would drop fields that it does not know.
 */
export function addSchemas(app: FastifyInstance): void {
  app.setValidatorCompiler<z.ZodType>(({ schema }) => (data: unknown) => {
    const parsed = schema.safeParse(data)
    return parsed.success ? { value: parsed.data } : { error: describeIssue(parsed.error, data) }
  })
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
}
