/** What a client is told of an error, in OpenAI's shape. Every field is safe to show to the caller. */
export type ErrorBody = {
  error: { message: string; type: string; param: string | null; code: string | null }
}

type ErrorDetails = {
  /** JSON path of the offending field, such as `user_config.model_list[0].litellm_params.api_base`. */
  param?: string | null
  /** Seconds a client should wait before it asks again; sent as `Retry-After`. */
  retryAfterSeconds?: number
  /** The same in milliseconds, which the official SDKs prefer; sent as `retry-after-ms`. */
  retryAfterMs?: number
  /** `x-should-retry`, which the official SDKs obey over the status code. */
  shouldRetry?: boolean
  cause?: unknown
}

/**
 * Base of every error that reaches a client: a public snake_case `code`, an HTTP status, and a message without
 * secrets. One subclass per thing that a caller handles differently.
 */
export class GatewayError extends Error {
  readonly status: number
  readonly type: string
  readonly code: string
  readonly param: string | null
  readonly retryAfterSeconds: number | null
  readonly retryAfterMs: number | null
  readonly shouldRetry: boolean | null

  constructor(status: number, type: string, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = new.target.name
    this.status = status
    this.type = type
    this.code = code
    this.param = details.param ?? null
    this.retryAfterSeconds = details.retryAfterSeconds ?? null
    this.retryAfterMs = details.retryAfterMs ?? null
    this.shouldRetry = details.shouldRetry ?? null
  }

  toBody(): ErrorBody {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } }
  }
}

/** 400: the request can't be served as it stands. `param` is the JSON path of the field, the message says what to do. */
export class InvalidRequestError extends GatewayError {
  constructor(message: string, param: string | null = null, code = 'invalid_request') {
    super(400, 'invalid_request_error', code, message, { param, shouldRetry: false })
  }
}

/** 401: one and the same text for a missing, malformed, unknown or revoked key, so that nothing can be learned. */
export class AuthenticationError extends GatewayError {
  constructor() {
    super(401, 'authentication_error', 'invalid_api_key', 'Invalid gateway API key.', { shouldRetry: false })
  }
}

/** 403: the key works, and not for this. */
export class InsufficientScopeError extends GatewayError {
  constructor(needed: string) {
    const message = `This gateway key may not do that: it needs ${needed}.`
    super(403, 'permission_error', 'insufficient_scope', message, { shouldRetry: false })
  }
}

/** 403: the key may submit, but not this model or to this endpoint. */
export class NotAllowedError extends GatewayError {
  constructor(
    code: 'model_not_allowed' | 'endpoint_not_allowed',
    message: string,
    param: string | null = null,
  ) {
    super(403, 'permission_error', code, message, { param, shouldRetry: false })
  }

  /** The same of a field that stands somewhere else. */
  at(param: string): NotAllowedError {
    return this.code === 'model_not_allowed' ? new NotAllowedError(this.code, this.message, param) : this
  }
}

/** 404: unknown, or somebody else's: the two can't be told apart. */
export class NotFoundError extends GatewayError {
  constructor(noun: string) {
    super(404, 'invalid_request_error', 'not_found', `No such ${noun}.`, { shouldRetry: false })
  }
}

/** 404: there is no such stored credential, or another tenant or customer has it: these can't be told apart. */
export class CredentialNotFoundError extends GatewayError {
  constructor(param: string) {
    const message = `\`${param}\` is no stored credential that this request may use: it must be its tenant's and its customer's.`
    super(404, 'invalid_request_error', 'credential_not_found', message, { param, shouldRetry: false })
  }

  /** The same of a field that stands somewhere else. */
  at(param: string): CredentialNotFoundError {
    return new CredentialNotFoundError(param)
  }
}

/** 410: it was ours and is purged. */
export class GoneError extends GatewayError {
  constructor(message: string) {
    super(410, 'invalid_request_error', 'result_expired', message, { shouldRetry: false })
  }
}

/** 410: the file store has no such bytes any more, though a record speaks of them. */
export class FileGoneError extends GatewayError {
  constructor(noun = 'file') {
    super(410, 'invalid_request_error', 'result_expired', `The content of this ${noun} is no longer kept.`, {
      shouldRetry: false,
    })
  }
}

/** 413: the tenant's files are as many bytes as they may be. */
export class FileQuotaError extends GatewayError {
  constructor(bytesUsed: number, bytesMax: number) {
    const room = `Your files hold ${bytesUsed} of ${bytesMax} bytes (GATEWAY_TENANT_FILE_BYTES_MAX)`
    const message = `${room}, and there is no room for this one. Delete some, or let them expire.`
    super(413, 'invalid_request_error', 'file_quota_exceeded', message, { shouldRetry: false })
  }
}

/** 409: an unfinished batch reads the file. */
export class FileInUseError extends GatewayError {
  constructor() {
    const message = 'A batch that has not ended uses this file. Cancel it, or wait for its end.'
    super(409, 'conflict_error', 'file_in_use', message, { shouldRetry: false })
  }
}

/** 409: what is asked does not go with how things stand; the message says what would. */
export class ConflictError extends GatewayError {
  constructor(message: string, code: string) {
    super(409, 'conflict_error', code, message, { shouldRetry: false })
  }
}

/** 413: a body over the limit. */
export class TooLargeError extends GatewayError {
  constructor(message: string) {
    super(413, 'invalid_request_error', 'request_too_large', message, { shouldRetry: false })
  }
}

/** 415: something other than JSON. */
export class UnsupportedMediaTypeError extends GatewayError {
  constructor(message: string) {
    super(415, 'invalid_request_error', 'unsupported_media_type', message, { shouldRetry: false })
  }
}

/** 416: a range that lies behind the end of a content. */
export class UnsatisfiableRangeError extends GatewayError {
  constructor(bytes: number) {
    const message = `The range asked for holds none of the ${bytes} bytes.`
    super(416, 'invalid_request_error', 'range_not_satisfiable', message, { shouldRetry: false })
  }
}

/** 422: an idempotency key was used again with another body. */
export class IdempotencyMismatchError extends GatewayError {
  constructor() {
    const message = 'This idempotency key was used before with another request body. Use a new key.'
    super(422, 'invalid_request_error', 'idempotency_mismatch', message, { shouldRetry: false })
  }
}

/** 503: Redis can't be reached, or the process is shutting down. Nothing was stored. */
export class UnavailableError extends GatewayError {
  constructor(message = 'The gateway is temporarily unavailable.', cause?: unknown) {
    super(503, 'server_error', 'unavailable', message, { retryAfterSeconds: 2, shouldRetry: true, cause })
  }
}

/**
 * 507: the store is filled up to its mark, and is nobody's quota: what was accepted goes on, nothing new is stored. The SDKs
 * try again after `Retry-After`, as they do for a 429, and don't take it for a limit of the caller's.
 */
export class StorageFullError extends GatewayError {
  constructor(cause?: unknown) {
    const message =
      'The gateway has no room for more at the moment, and nothing was stored. What it has accepted goes on; try again in a while.'
    super(507, 'server_error', 'storage_full', message, { retryAfterSeconds: 10, shouldRetry: true, cause })
  }
}

/** 503: Redis takes no writes, as when it can't save to its disk. Nothing was stored. */
export class StorageReadonlyError extends GatewayError {
  constructor(cause?: unknown) {
    const message =
      'The gateway can only read at the moment: its store accepts no writes. Nothing was stored; try again in a while.'
    const details = { retryAfterSeconds: 10, shouldRetry: true, cause }
    super(503, 'server_error', 'storage_readonly', message, details)
  }
}

/** 400: what is asked to be on the disk first can't be waited for on this Redis. Nothing was stored. */
export class DurabilityUnavailableError extends GatewayError {
  constructor(reason: string, param: string | null) {
    const whose = param === null ? 'This tenant has' : 'This asks for'
    const message = `${whose} durability "fsync", which needs Redis 7.2 or Valkey with appendonly on: ${reason}. Nothing was stored.`
    super(400, 'invalid_request_error', 'durability_unavailable', message, { param, shouldRetry: false })
  }
}

/**
 * 503: it was stored, and Redis did not confirm in time that it is on its disk.
 * @param isFoundAgain The same request, sent again, finds it and makes nothing new.
 */
export class UnconfirmedError extends GatewayError {
  constructor(id: string, path: string, isFoundAgain: boolean) {
    const retry = isFoundAgain
      ? 'Send the same request again: it finds this one, or makes it anew if it was lost.'
      : `Look at GET ${path} before you send it again; with an Idempotency-Key a second try is safe.`
    const message = `This was stored as ${id}, but is not known to be on the disk of Redis yet: it goes on, unless Redis loses it. ${retry}`
    const details = { retryAfterSeconds: 1, shouldRetry: isFoundAgain }
    super(503, 'server_error', 'durability_unconfirmed', message, details)
  }
}

/**
 * 504: a synchronous call was held as long as allowed; the job goes on under its id.
 * @param isFoundAgain the same call, sent again, waits for this job and makes none.
 */
export class SyncWaitExceededError extends GatewayError {
  constructor(jobId: string, isFoundAgain: boolean) {
    const message = `The completion is not done yet; it goes on as job ${jobId}. Read it at /v1/jobs/${jobId}.`
    const retry = isFoundAgain ? { shouldRetry: true, retryAfterMs: 500 } : { shouldRetry: false }
    super(504, 'timeout_error', 'sync_wait_exceeded', message, retry)
  }
}

/** A sealed value that can't be opened: an unknown key id, another record's value, or changed bytes. */
export class SealError extends GatewayError {
  constructor(message: string, code = 'seal_open_failed') {
    super(500, 'server_error', code, message, { shouldRetry: false })
  }
}

/** The process can't start with this configuration. The message names the setting and what to do. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}
