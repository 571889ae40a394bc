/** A request that can't be put into the provider's form. The message is safe to show: names only, nothing of the prompt. */
export class RequestFault extends Error {
  /** The field at fault, as `messages[1].content`. */
  readonly param: string | null
  readonly code: string | null

  constructor(message: string, param: string | null = null, code: string | null = null) {
    super(message)
    this.name = 'RequestFault'
    this.param = param
    this.code = code
  }
}
