/**
 * Why no complete answer came. `refused`: never tried, by our own rules. `connect`, `timeout_connect`: nothing was sent.
 * `protocol`: the answer is not HTTP. `aborted`: given up by us.
 */
export type OutboundErrorKind =
  | 'refused'
  | 'connect'
  | 'timeout_connect'
  | 'timeout_first_byte'
  | 'timeout_idle'
  | 'timeout_total'
  | 'too_large'
  | 'aborted'
  | 'reset'
  | 'protocol'

/** A request through the door out that got no complete answer. The message is safe to show: no URL, address or header. */
export class OutboundError extends Error {
  readonly kind: OutboundErrorKind
  /** The other side may have acted on the request. */
  readonly requestSent: boolean

  constructor(kind: OutboundErrorKind, requestSent: boolean, message: string) {
    super(message)
    this.name = 'OutboundError'
    this.kind = kind
    this.requestSent = requestSent
  }
}
