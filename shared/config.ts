import { existsSync } from 'node:fs'
import { z } from 'zod'
import { ConfigError } from './errors.ts'

const count = (fallback: number) => z.coerce.number().int().positive().default(fallback)
const milliseconds = count

const list = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  )

/** `id:base64` pairs; the first key seals, all of them open. Each key is 32 bytes. */
const encryptionKeys = list.transform((pairs, context) => {
  const keys = pairs.map((pair) => {
    const colon = pair.indexOf(':')
    return { id: pair.slice(0, colon), key: Buffer.from(pair.slice(colon + 1), 'base64') }
  })
  const bad = keys.some(({ id, key }) => !/^[A-Za-z0-9_-]{1,32}$/.test(id) || key.length !== 32)
  const repeated = new Set(keys.map(({ id }) => id)).size !== keys.length
  if (bad || repeated) {
    const message = 'must be a comma-separated list of id:base64 with distinct ids and 32-byte keys'
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  }
  return keys
})

/** An idle queue asks every two seconds: what does not for less than this says nothing. */
const ASKS_AGAIN_MS = 3_000

const Environment = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(0).max(65_535).default(4000),
  /** Where each process shows its metrics; nowhere unless it is set. */
  GATEWAY_METRICS_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  /** The address it does so at; that of the API unless given. */
  GATEWAY_METRICS_HOST: z.string().optional(),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  REDIS_URL: z.string().min(1),
  GATEWAY_CONFIG: z.string().optional(),
  GATEWAY_MASTER_KEY: z.string().min(8).optional(),
  GATEWAY_ENCRYPTION_KEYS: encryptionKeys,
  GATEWAY_ID_SECRET: z.string().min(16, 'must hold at least 16 characters'),
  GATEWAY_ALLOWED_CIDRS: list,
  GATEWAY_WEBHOOK_ALLOWED_CIDRS: list,
  GATEWAY_FILE_ALLOWED_CIDRS: list,
  GATEWAY_TEST_RESOLVE: list,
  GATEWAY_TEST_CA: z.string().optional(),
  GATEWAY_KEY_PREFIX: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/)
    .default('byok'),
  /** Over how many hash tags tenants are spread, so that the nodes of a cluster share the load; chosen once. */
  GATEWAY_SHARDS: z.coerce.number().int().min(1).max(64).default(1),
  GATEWAY_REDIS_TIMEOUT_MS: milliseconds(900),
  /** How long a connection to Redis may owe an answer before another one takes its place. */
  GATEWAY_REDIS_SILENCE_MS: z.coerce.number().int().min(ASKS_AGAIN_MS).default(10_000),
  /** A queue that is asked for nothing for so long, though there is room, is begun anew; twice that, and the API is not ready. */
  GATEWAY_STALL_MS: z.coerce.number().int().min(ASKS_AGAIN_MS).default(10_000),
  /** How long Redis may take to say that its append-only file is on its disk, for what asks for that. */
  GATEWAY_FSYNC_TIMEOUT_MS: milliseconds(5_000),
  /** How much memory Redis may take, where it has no `maxmemory` of its own. */
  GATEWAY_REDIS_BYTES_MAX: z.coerce.number().int().positive().optional(),
  /** Part of that above which nothing is accepted. */
  GATEWAY_REDIS_HIGH_WATER: z.coerce.number().min(0.1).max(1).default(0.75),
  GATEWAY_BODY_BYTES_MAX: count(10 * 1024 * 1024),
  /** Where files and the results of batches lie: `file:/a/path` that all processes share, or `s3://bucket/prefix`. */
  GATEWAY_FILES: z.string().optional(),
  GATEWAY_FILE_BYTES_MAX: count(512 * 1024 * 1024),
  GATEWAY_BATCH_FILE_BYTES_MAX: count(200 * 1024 * 1024),
  GATEWAY_TENANT_FILE_BYTES_MAX: count(10 * 1024 * 1024 * 1024),
  GATEWAY_BATCH_LINE_BYTES_MAX: count(1024 * 1024),
  GATEWAY_BATCH_LINES_MAX: count(50_000),
  /** How long an ended batch and its files are kept. */
  GATEWAY_BATCH_RETENTION_MS: milliseconds(30 * 86_400_000),
  /** How long calls in flight may go on in a batch that is cancelled. */
  GATEWAY_BATCH_CANCEL_MS: milliseconds(600_000),
  AWS_ENDPOINT_URL: z.string().optional(),
  AWS_ENDPOINT_URL_S3: z.string().optional(),
  GATEWAY_SYNC_HOLD_MS: milliseconds(280_000),
  /** What becomes of the job of a call whose client leaves: it goes on for a while, for whoever asks again, or ends. */
  GATEWAY_WHEN_CLIENT_LEAVES: z.enum(['continue', 'cancel']).default('continue'),
  /** How long it goes on. */
  GATEWAY_LEFT_MS: milliseconds(600_000),
  /** After so long without an event a stream says that it is still there. */
  GATEWAY_STREAM_HEARTBEAT_MS: milliseconds(15_000),
  GATEWAY_SYNC_DEADLINE_MS: milliseconds(600_000),
  GATEWAY_ASYNC_DEADLINE_MS: milliseconds(86_400_000),
  GATEWAY_SYNC_RETENTION_MS: milliseconds(600_000),
  GATEWAY_RESULT_RETENTION_MS: milliseconds(86_400_000),
  GATEWAY_IDEMPOTENCY_RETENTION_MS: milliseconds(86_400_000),
  WORKER_CONCURRENCY: z.coerce.number().int().min(1).max(50_000).default(500),
  GATEWAY_LOCK_MS: milliseconds(15_000),
  GATEWAY_STALLED_CHECK_MS: milliseconds(5_000),
  GATEWAY_LEASE_MS: milliseconds(12_000),
  GATEWAY_HEARTBEAT_MS: milliseconds(2_000),
  GATEWAY_SWEEP_MS: milliseconds(200),
  GATEWAY_DRAIN_MS: milliseconds(30_000),
  GATEWAY_AOF_REWRITE_MS: milliseconds(3_600_000),
  GATEWAY_LIMIT_WINDOW_MS: milliseconds(60_000),
  /** Whether each tenant's usage of a day becomes a file of its own when the day is over. */
  GATEWAY_USAGE_EXPORT: z.enum(['on', 'off']).default('on'),
  /** Whether the API serves the page of queues to the master key. */
  GATEWAY_BOARD: z.enum(['on', 'off']).default('on'),
  GATEWAY_RETRY_INITIAL_MS: milliseconds(500),
  GATEWAY_CRASHES_MAX: z.coerce.number().int().min(0).default(3),
  /** Seconds between the tries of one webhook delivery; the first is normally 0. */
  GATEWAY_WEBHOOK_SCHEDULE_S: z
    .string()
    .default('0,5,30,300,1800,7200,18000,36000,50400,72000,86400')
    .transform((text) => text.split(',').map(Number))
    .refine(
      (waits) => waits.every((wait) => Number.isFinite(wait) && wait >= 0),
      'must be seconds, comma-separated',
    ),
  GATEWAY_WEBHOOK_TIMEOUT_MS: milliseconds(15_000),
  /** For how long a receiver that failed five times in a row is left alone at first; doubles up to 5 minutes. */
  GATEWAY_WEBHOOK_BREAKER_MS: milliseconds(5_000),
  /** After how long the rate doubles with which a receiver is sent to after it failed; it starts at ten a second. */
  GATEWAY_WEBHOOK_RAMP_MS: milliseconds(5_000),
  /** After how long with nothing but failures a webhook endpoint is disabled. */
  GATEWAY_WEBHOOK_DISABLE_MS: milliseconds(5 * 86_400_000),
  GATEWAY_EVENT_RETENTION_MS: milliseconds(30 * 86_400_000),
  GATEWAY_DELIVERY_RETENTION_MS: milliseconds(30 * 86_400_000),
})

/**
 * All settings of an API or worker process, in groups: a function takes the few values it needs. Milliseconds and
 * bytes as the names say.
 * @throws {ConfigError} naming every variable that is wrong and what it must be.
 */
export function parseConfig(environment: Record<string, string | undefined>) {
  const present = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const parsed = Environment.safeParse(present)
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`)
    throw new ConfigError(`The environment does not hold what the gateway needs:\n${lines.join('\n')}`)
  }
  const env = parsed.data
  if (env.GATEWAY_ENCRYPTION_KEYS.length === 0) {
    throw new ConfigError('GATEWAY_ENCRYPTION_KEYS is needed with REDIS_URL: id:base64 of 32 random bytes.')
  }
  if (env.GATEWAY_TEST_RESOLVE.length > 0 && env.GATEWAY_ALLOWED_CIDRS.length === 0) {
    throw new ConfigError(
      'GATEWAY_TEST_RESOLVE is for tests and is refused unless GATEWAY_ALLOWED_CIDRS is set.',
    )
  }
  if (env.GATEWAY_FILES === undefined) {
    throw new ConfigError(
      'GATEWAY_FILES is needed with REDIS_URL: file:/a/path that the API and all workers share, or s3://bucket/prefix.',
    )
  }
  return {
    listen: { host: env.HOST, port: env.PORT, bodyBytesMax: env.GATEWAY_BODY_BYTES_MAX },
    metrics:
      env.GATEWAY_METRICS_PORT === undefined
        ? null
        : { host: env.GATEWAY_METRICS_HOST ?? env.HOST, port: env.GATEWAY_METRICS_PORT },
    logLevel: env.LOG_LEVEL,
    isBoardServed: env.GATEWAY_BOARD === 'on',
    redis: {
      url: env.REDIS_URL,
      keyPrefix: env.GATEWAY_KEY_PREFIX,
      shards: env.GATEWAY_SHARDS,
      /** A command that takes longer has failed: below a second, so that a call is told in time. */
      timeoutMs: env.GATEWAY_REDIS_TIMEOUT_MS,
      /** Longer than BullMQ's workers wait for an entry in one command (2 s). */
      silenceMs: env.GATEWAY_REDIS_SILENCE_MS,
      fsyncTimeoutMs: env.GATEWAY_FSYNC_TIMEOUT_MS,
      /** Null: `maxmemory` alone says so. */
      bytesMax: env.GATEWAY_REDIS_BYTES_MAX ?? null,
      highWater: env.GATEWAY_REDIS_HIGH_WATER,
    },
    files: {
      place: env.GATEWAY_FILES,
      /** An S3 server other than Amazon's: its buckets are folders of its path. */
      hasS3Endpoint: env.AWS_ENDPOINT_URL_S3 !== undefined || env.AWS_ENDPOINT_URL !== undefined,
      bytesMax: env.GATEWAY_FILE_BYTES_MAX,
      batchBytesMax: env.GATEWAY_BATCH_FILE_BYTES_MAX,
      tenantBytesMax: env.GATEWAY_TENANT_FILE_BYTES_MAX,
      lineBytesMax: env.GATEWAY_BATCH_LINE_BYTES_MAX,
      linesMax: env.GATEWAY_BATCH_LINES_MAX,
    },
    batches: { retentionMs: env.GATEWAY_BATCH_RETENTION_MS, cancelMs: env.GATEWAY_BATCH_CANCEL_MS },
    /** Longer than an idle queue waits until it asks again (2 s). */
    stallMs: env.GATEWAY_STALL_MS,
    operatorConfigFile: env.GATEWAY_CONFIG ?? (existsSync('config.yaml') ? 'config.yaml' : null),
    secrets: {
      masterKey: env.GATEWAY_MASTER_KEY ?? null,
      encryptionKeys: env.GATEWAY_ENCRYPTION_KEYS,
      idSecret: env.GATEWAY_ID_SECRET,
    },
    egress: {
      allowedCidrs: env.GATEWAY_ALLOWED_CIDRS,
      webhookAllowedCidrs:
        env.GATEWAY_WEBHOOK_ALLOWED_CIDRS.length > 0
          ? env.GATEWAY_WEBHOOK_ALLOWED_CIDRS
          : env.GATEWAY_ALLOWED_CIDRS,
      /** Of files that prompts name: their answers are read, so a network that is open to calls is not open to these. */
      fileAllowedCidrs: env.GATEWAY_FILE_ALLOWED_CIDRS,
      /** `host=address:port`: sends a public name to a test server. */
      testResolve: env.GATEWAY_TEST_RESOLVE,
      testCaFile: env.GATEWAY_TEST_CA ?? null,
    },
    jobs: {
      syncHoldMs: env.GATEWAY_SYNC_HOLD_MS,
      cancelsWhenLeft: env.GATEWAY_WHEN_CLIENT_LEAVES === 'cancel',
      leftMs: env.GATEWAY_LEFT_MS,
      streamHeartbeatMs: env.GATEWAY_STREAM_HEARTBEAT_MS,
      syncDeadlineMs: env.GATEWAY_SYNC_DEADLINE_MS,
      asyncDeadlineMs: env.GATEWAY_ASYNC_DEADLINE_MS,
      syncRetentionMs: env.GATEWAY_SYNC_RETENTION_MS,
      resultRetentionMs: env.GATEWAY_RESULT_RETENTION_MS,
      idempotencyRetentionMs: env.GATEWAY_IDEMPOTENCY_RETENTION_MS,
    },
    worker: {
      concurrency: env.WORKER_CONCURRENCY,
      lockMs: env.GATEWAY_LOCK_MS,
      stalledCheckMs: env.GATEWAY_STALLED_CHECK_MS,
      leaseMs: env.GATEWAY_LEASE_MS,
      heartbeatMs: env.GATEWAY_HEARTBEAT_MS,
      sweepMs: env.GATEWAY_SWEEP_MS,
      drainMs: env.GATEWAY_DRAIN_MS,
      aofRewriteMs: env.GATEWAY_AOF_REWRITE_MS,
      limitWindowMs: env.GATEWAY_LIMIT_WINDOW_MS,
      isUsageExported: env.GATEWAY_USAGE_EXPORT === 'on',
      /** Back-off before the first retry; it doubles up to sixteen times as much. */
      retryInitialMs: env.GATEWAY_RETRY_INITIAL_MS,
      crashesMax: env.GATEWAY_CRASHES_MAX,
    },
    webhooks: {
      scheduleSeconds: env.GATEWAY_WEBHOOK_SCHEDULE_S,
      timeoutMs: env.GATEWAY_WEBHOOK_TIMEOUT_MS,
      breakerMs: env.GATEWAY_WEBHOOK_BREAKER_MS,
      rampMs: env.GATEWAY_WEBHOOK_RAMP_MS,
      disableMs: env.GATEWAY_WEBHOOK_DISABLE_MS,
      eventRetentionMs: env.GATEWAY_EVENT_RETENTION_MS,
      /** Of deliveries, after their end. */
      retentionMs: env.GATEWAY_DELIVERY_RETENTION_MS,
      /** Of a job, while a delivery of it is still tried. */
      jobRetentionMs: env.GATEWAY_RESULT_RETENTION_MS,
    },
  }
}

export type Config = ReturnType<typeof parseConfig>
