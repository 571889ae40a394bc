import { fastify, type FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import type { Capacity } from '../shared/capacity.ts'
import { UnavailableError } from '../shared/errors.ts'
import type { Tracing } from '../shared/tracing.ts'
import { operatorModelNames } from '../shared/settings/operator-config.ts'
import type { BatchServices } from './batches.ts'
import { withBasePath } from './base-path.ts'
import { createCalls, type CallDeps } from './calls.ts'
import { addDelivered } from './delivered.ts'
import { isAnthropic } from './error-shapes.ts'
import { handleError, unknownRoute } from './errors.ts'
import type { KeyCache } from './key-cache.ts'
import type { ApiCounts } from './metrics.ts'
import type { Board } from './board.ts'
import { addAuth, createAuth } from './plugins/auth.ts'
import { addDocs } from './plugins/docs.ts'
import { addJsonBody } from './plugins/json-body.ts'
import { addSchemas } from './plugins/schemas.ts'
import { addRequestLog, addTracing } from './plugins/tracing.ts'
import { addReceiveLimit } from './receiving.ts'
import type { Readiness } from './readiness.ts'
import { addAdminKeyRoutes, type AdminKeyDeps } from './routes/admin-keys.ts'
import { addAdminTenantRoutes, type AdminTenantDeps } from './routes/admin-tenants.ts'
import { addBatchOutputRoutes } from './routes/batch-output.ts'
import { addBatchRoutes } from './routes/batches.ts'
import { addBoardRoute } from './routes/board.ts'
import { addAzureRoutes, addCompletionRoutes, escapeDeployment } from './routes/completions.ts'
import { addCredentialRoutes, type CredentialRouteDeps } from './routes/credentials.ts'
import { addFileRoutes } from './routes/files.ts'
import { addHealthRoutes } from './routes/health.ts'
import { addJobControlRoutes } from './routes/job-control.ts'
import { addJobEventRoutes } from './routes/job-events.ts'
import { addJobRoutes } from './routes/jobs.ts'
import { addModelRoutes } from './routes/models.ts'
import { addPlanRoute, type PlanDeps } from './routes/plan.ts'
import { addResponseRoutes } from './routes/responses.ts'
import { addEventRoutes } from './routes/events.ts'
import { addUsageRoutes, type UsageDeps } from './routes/usage.ts'
import { addWebhookDeliveryRoutes } from './routes/webhook-deliveries.ts'
import { addWebhookEndpointRoutes } from './routes/webhook-endpoints.ts'
import { addWebhookSecretRoute } from './routes/webhook-secret.ts'
import { addEnd, RECEIVE_MS, serverOptions, type ServerDeps } from './server.ts'
import type { UploadDeps } from './uploads.ts'
import type { WebhookServices } from './webhooks.ts'

export type AppDeps = CallDeps &
  BatchServices &
  WebhookServices &
  CredentialRouteDeps &
  UploadDeps &
  AdminTenantDeps &
  AdminKeyDeps &
  UsageDeps &
  ServerDeps & {
    /** Nothing is traced unless given. */
    tracing?: Tracing
    redis: Redis
    capacity: Pick<Capacity, 'state'>
    readiness: Pick<Readiness, 'reasons'>
    keyCache: KeyCache
    /** The page of queues; absent or null: it is not served. */
    board?: Board | null
    /** How deployments stand, for plans that are shown. */
    state: PlanDeps['state']
    /** Null: only keys from the store work. */
    masterKey: string | null
    /** Counts what is served. */
    counts?: Pick<ApiCounts, 'http'>
    /** `GATEWAY_ID_SECRET`, which default webhook secrets are derived from. */
    idSecret: string
  }

/** Builds the API: everything it serves, in reading order. It does not listen, and closes nothing that it was given. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const app = fastify({
    ...serverOptions(deps),
    rewriteUrl: ({ url = '/' }) => withBasePath(escapeDeployment(url)),
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 2000 },
  })
  app.setErrorHandler(handleError)
  addTracing(app, deps.tracing)
  addRequestLog(app, deps.log)
  deps.counts?.http(app)
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id)
    if (isAnthropic(request)) void reply.header('request-id', request.id)
    // Connections that stay open outlive the listener: what still comes on them must not become a job.
    if (deps.holds.isStopping()) throw new UnavailableError('The gateway is restarting.')
    // Here, before its body is read: nobody has shown a key.
    if (request.is404) throw unknownRoute(request)
  })
  addReceiveLimit(app, deps.receiveMs ?? RECEIVE_MS)
  addEnd(app, deps.holds)
  addDelivered(app, deps.jobs)
  addJsonBody(app)
  addSchemas(app)

  addDocs(app)
  addHealthRoutes(app, deps)
  if (deps.board)
    addBoardRoute(app, { board: deps.board, principalOf: createAuth(deps.keyCache, deps.masterKey) })
  const calls = createCalls(deps)
  await app.register(
    async (scope) => {
      addAuth(scope, deps.keyCache, deps.masterKey)
      addCompletionRoutes(scope, calls)
      addResponseRoutes(scope, calls, deps)
      addJobRoutes(scope, deps)
      addJobControlRoutes(scope, deps)
      addJobEventRoutes(scope, deps)
      // In a scope of its own: nothing else takes multipart bodies.
      await scope.register((files) => addFileRoutes(files, deps))
      addBatchRoutes(scope, deps)
      addBatchOutputRoutes(scope, deps)
      addPlanRoute(scope, deps)
      addCredentialRoutes(scope, deps)
      addModelRoutes(scope, operatorModelNames(deps.operator))
      addWebhookEndpointRoutes(scope, deps)
      addWebhookDeliveryRoutes(scope, deps)
      addEventRoutes(scope, deps)
      addWebhookSecretRoute(scope, deps.idSecret)
      addAdminTenantRoutes(scope, deps)
      addAdminKeyRoutes(scope, deps)
      addUsageRoutes(scope, deps)
    },
    { prefix: '/v1' },
  )
  await app.register(async (scope) => {
    addAuth(scope, deps.keyCache, deps.masterKey)
    addAzureRoutes(scope, calls)
  })
  return app
}
