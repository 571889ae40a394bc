import { fastify, LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import type { Capacity } from '../shared/capacity.ts'
import { UnavailableError } from '../shared/errors.ts'
import { newRequestId } from '../shared/ids.ts'
import type { Logger } from '../shared/log.ts'
import { operatorModelNames } from '../shared/settings/operator-config.ts'
import type { BatchServices } from './batches.ts'
import { createCalls, type CallDeps } from './calls.ts'
import { addDelivered } from './delivered.ts'
import { isAnthropic } from './error-shapes.ts'
import { handleClientError, handleError, unknownRoute } from './errors.ts'
import type { Holds } from './holds.ts'
import type { KeyCache } from './key-cache.ts'
import type { ApiCounts } from './metrics.ts'
import { addAuth } from './plugins/auth.ts'
import { addDocs } from './plugins/docs.ts'
import { addJsonBody } from './plugins/json-body.ts'
import { addSchemas } from './plugins/schemas.ts'
import { addReceiveLimit, UPLOAD_MS } from './receiving.ts'
import { addAdminKeyRoutes, type AdminKeyDeps } from './routes/admin-keys.ts'
import { addAdminTenantRoutes, type AdminTenantDeps } from './routes/admin-tenants.ts'
import { addBatchOutputRoutes } from './routes/batch-output.ts'
import { addBatchRoutes } from './routes/batches.ts'
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
import type { UploadDeps } from './uploads.ts'
import type { WebhookServices } from './webhooks.ts'

const IDLE_CHECK_MS = 20
// A stopping process has told all calls what there is: whoever has not read it by then does not read.
const READ_REST_MS = 5_000
const RECEIVE_MS = 60_000

export type AppDeps = CallDeps &
  BatchServices &
  WebhookServices &
  CredentialRouteDeps &
  UploadDeps &
  AdminTenantDeps &
  AdminKeyDeps &
  UsageDeps & {
    log: Logger
    redis: Redis
    capacity: Pick<Capacity, 'state'>
    keyCache: KeyCache
    holds: Holds
    /** How deployments stand, for plans that are shown. */
    state: PlanDeps['state']
    /** Null: only keys from the store work. */
    masterKey: string | null
    /**
     * How long a request may take to arrive in whole, in milliseconds; 60 s unless given. Its answer may take longer, and
     * so may an upload, as long as it goes on.
     */
    receiveMs?: number
    /** Counts what is served. */
    counts?: Pick<ApiCounts, 'http'>
    /** `GATEWAY_ID_SECRET`, which default webhook secrets are derived from. */
    idSecret: string
  }

/** Builds the API: everything it serves, in reading order. It does not listen, and closes nothing that it was given. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  // Fastify's own lines (one a call, one a 404, one a listener) say nothing that an operator wants to read.
  const level = deps.log.isLevelEnabled('warn') ? 'warn' : deps.log.level
  const loggerInstance: FastifyBaseLogger = deps.log.child({}, { level })
  const { receiveMs = RECEIVE_MS } = deps
  const app = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: deps.bodyBytesMax,
    requestTimeout: UPLOAD_MS,
    http: { headersTimeout: receiveMs, connectionsCheckingInterval: receiveMs / 12 },
    // No logger is made for each call: the few lines that there are name the request themselves.
    childLoggerFactory: (logger) => logger,
    genReqId: newRequestId,
    rewriteUrl: ({ url = '/' }) => escapeDeployment(url),
    requestIdHeader: false,
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 2000 },
    frameworkErrors: handleError,
    clientErrorHandler: handleClientError,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
  })
  app.setErrorHandler(handleError)
  deps.counts?.http(app)
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id)
    if (isAnthropic(request)) void reply.header('request-id', request.id)
    // Connections that stay open outlive the listener: what still comes on them must not become a job.
    if (deps.holds.isStopping()) throw new UnavailableError('The gateway is restarting.')
    // Here, before its body is read: nobody has shown a key.
    if (request.is404) throw unknownRoute(request)
  })
  addReceiveLimit(app, receiveMs)
  app.addHook('preClose', async () => {
    deps.holds.endAll()
    // Connections whose call is answered from now on stay open for the next one, and would hold up the end.
    setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK_MS).unref()
    setTimeout(() => app.server.closeAllConnections(), READ_REST_MS).unref()
  })
  addDelivered(app, deps.jobs)
  addJsonBody(app)
  addSchemas(app)

  await addDocs(app)
  addHealthRoutes(app, deps)
  const calls = createCalls(deps)
  // The SDKs are used with a base URL that ends in `/v1`, and with one that does not.
  for (const prefix of ['/v1', '']) {
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
      { prefix },
    )
  }
  await app.register(async (scope) => {
    addAuth(scope, deps.keyCache, deps.masterKey)
    addAzureRoutes(scope, calls)
  })
  return app
}
