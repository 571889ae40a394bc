import { readFileSync } from 'node:fs'
import { Agent } from 'undici'
import { createEgressPolicy, type EgressPolicy } from '../shared/egress.ts'
import { GatewayError } from '../shared/errors.ts'
import { ConnectError, createConnector, parseTestTargets } from './connector.ts'
import { Exchange, type OutboundRequest, type OutboundResponse } from './exchange.ts'
import { OutboundError } from './outbound-error.ts'
import { createResolver, type Resolve } from './resolve.ts'

/** Idle sockets are closed before servers do it (uvicorn after 5 s), unless a server says that it waits longer. */
const KEEP_ALIVE_MS = 4_000
const KEEP_ALIVE_MAX_MS = 30_000
const CONNECT_MS = 10_000
const CONNECTIONS_PER_ORIGIN_MAX = 10_000

/** Headers that frame the message or pick its target: ours alone to set. */
const FORBIDDEN_HEADERS = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/**
 * The only door out: every request to a provider, to a webhook receiver, or for a file that a prompt names leaves here, and
 * nothing else imports undici. The guard has no switch: it is left out only for a request with `trustedOrigin`, whose base is
 * the operator's own, and those have sockets of their own, so that no guarded request ever travels on an unchecked one.
 * Redirects are answers, never followed. Sockets are pooled by origin, never by credentials; HTTP/1.1 only.
 *
 * Files have a guard and sockets of their own: whoever may call a model in an opened network may not therefore read whatever
 * else answers a GET there.
 */
export function createOutbound(options: {
  policy: EgressPolicy
  /** Where files that a prompt names may lie: unless it is said, at public addresses and any host. */
  files?: { policy: EgressPolicy; allowedHosts: string[] | null }
  /** `GATEWAY_TEST_RESOLVE` entries, and the PEM file of the authority that signed the test servers. */
  testResolve?: readonly string[]
  testCaFile?: string | null
  connectMs?: number
  connectionsPerOriginMax?: number
  resolve?: Resolve
}) {
  const { policy, files = PUBLIC_FILES, resolve = createResolver(), connectMs = CONNECT_MS } = options
  const testTargets = parseTestTargets(options.testResolve ?? [])
  const testCa = options.testCaFile ? readFileSync(options.testCaFile, 'utf8') : undefined

  function createAgent(guard: EgressPolicy | null): Agent {
    return new Agent({
      connect: createConnector({ policy: guard, resolve, connectMs, testTargets, testCa }),
      connections: options.connectionsPerOriginMax ?? CONNECTIONS_PER_ORIGIN_MAX,
      allowH2: false,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
      // Exchange has the clocks, one set for all phases.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
  }

  const guarded = createAgent(policy)
  const trusted = createAgent(null)
  const ofFiles = createAgent(files.policy)

  async function post(request: OutboundRequest): Promise<OutboundResponse> {
    refuseAborted(request)
    const url = request.trustedOrigin ? parseTrusted(request.url) : checkUrl(policy, request.url)
    return dispatch(request.trustedOrigin ? trusted : guarded, 'POST', url, request)
  }

  async function get(request: FileRequest): Promise<OutboundResponse> {
    refuseAborted(request)
    const url = checkUrl(files.policy, request.url, files.allowedHosts)
    return dispatch(ofFiles, 'GET', url, { ...request, body: '' })
  }

  return {
    /**
     * Sends one POST and gives back whatever answer comes, redirects and errors included.
     * @throws {OutboundError} when no complete answer came; its message holds no URL, address or header.
     */
    post,
    /** The same for a GET: of a file that a prompt names by its address. */
    get,
    /** Closes every socket; calls still open end as `aborted`. */
    async close(): Promise<void> {
      await Promise.all([guarded.destroy(), trusted.destroy(), ofFiles.destroy()])
    },
  }
}

export type Outbound = ReturnType<typeof createOutbound>

/** No base of the operator's makes a file's address trusted. */
type FileRequest = Omit<OutboundRequest, 'body' | 'trustedOrigin'>

const PUBLIC_FILES = { policy: createEgressPolicy({ allowedCidrs: [] }), allowedHosts: null }

function refuseAborted({ signal }: Pick<OutboundRequest, 'signal'>): void {
  if (signal.aborted) throw new OutboundError('aborted', false, 'The call was given up.')
}

function dispatch(
  agent: Agent,
  method: 'GET' | 'POST',
  { origin, pathname, search }: URL,
  request: OutboundRequest,
): Promise<OutboundResponse> {
  const headers = checkHeaders(request.headers)
  const body = method === 'GET' ? null : request.body
  const { promise, resolve, reject } = Promise.withResolvers<OutboundResponse>()
  // What is sent is of no use while the answer is waited for, and of thousands of calls at once it is much memory: neither the
  // exchange nor a closure made here keeps it.
  const exchange = new Exchange({ ...request, body: '' }, resolve, asOutboundError(reject))
  agent.dispatch({ origin, path: pathname + search, method, headers, body }, exchange)
  return promise
}

function asOutboundError(reject: (error: Error) => void): (error: Error) => void {
  return (error) => reject(toOutboundError(error))
}

function toOutboundError(error: Error): OutboundError {
  if (error instanceof OutboundError) return error
  if (error instanceof ConnectError) return new OutboundError(error.kind, false, error.message)
  return new OutboundError('connect', false, 'The request could not be sent.')
}

function checkUrl(policy: EgressPolicy, url: string, allowedHosts: string[] | null = null): URL {
  try {
    return policy.checkUrl(url, 'url', { allowQuery: true, allowedHosts })
  } catch (error) {
    const reason = error instanceof GatewayError ? error.message : 'The URL is not allowed.'
    throw new OutboundError('refused', false, reason)
  }
}

function parseTrusted(url: string): URL {
  const parsed = URL.parse(url)
  if (parsed && /^https?:$/.test(parsed.protocol)) return parsed
  throw new OutboundError('refused', false, 'The URL is not an absolute http(s) URL.')
}

/** A value is never repeated in the error: it may be a key with a stray line break. */
function checkHeaders(headers: Record<string, string>): string[] {
  const list = ['accept-encoding', 'identity']
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/i.test(name) || FORBIDDEN_HEADERS.has(name.toLowerCase())) {
      throw new OutboundError('refused', false, 'A request header has a name that may not be sent.')
    }
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      const message = `The value of request header ${name.toLowerCase()} has characters that may not be sent.`
      throw new OutboundError('refused', false, message)
    }
    list.push(name, value)
  }
  return list
}
