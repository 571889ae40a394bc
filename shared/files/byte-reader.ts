const NEWLINE = 0x0a
const EMPTY = Buffer.alloc(0)

/**
 * Reads bytes that come in chunks in portions of its caller's size. The next chunk is asked for while the last one is
 * being read, and no more than these two are held.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Buffer>
  #next: Promise<IteratorResult<Buffer>>
  #chunk: Buffer = EMPTY

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]()
    this.#next = this.#ask()
  }

  /** The next `bytes` bytes. @throws when there are not as many. */
  async take(bytes: number): Promise<Buffer> {
    if (bytes <= this.#chunk.length) return this.#cut(bytes)
    const parts: Buffer[] = []
    await this.#pass(bytes, (part) => parts.push(part))
    return Buffer.concat(parts)
  }

  /** Of the next `bytes` bytes those before the first newline, and how many newlines there are in all of them. */
  async takeLine(bytes: number): Promise<{ text: Buffer; newlines: number }> {
    const parts: Buffer[] = []
    let newlines = 0
    await this.#pass(bytes, (part) => {
      const end = part.indexOf(NEWLINE)
      if (newlines === 0) parts.push(end === -1 ? part : part.subarray(0, end))
      for (let at = end; at !== -1; at = part.indexOf(NEWLINE, at + 1)) newlines += 1
    })
    const [first = EMPTY, ...others] = parts
    return { text: others.length === 0 ? first : Buffer.concat(parts), newlines }
  }

  async skip(bytes: number): Promise<void> {
    await this.#pass(bytes, () => {})
  }

  async close(): Promise<void> {
    await this.#source.return?.()
  }

  async #pass(bytes: number, visit: (part: Buffer) => void): Promise<void> {
    let left = bytes
    while (left > 0) {
      if (this.#chunk.length === 0) await this.#advance()
      const part = this.#cut(Math.min(left, this.#chunk.length))
      left -= part.length
      visit(part)
    }
  }

  #cut(bytes: number): Buffer {
    const part = this.#chunk.subarray(0, bytes)
    this.#chunk = this.#chunk.subarray(bytes)
    return part
  }

  async #advance(): Promise<void> {
    const { done, value } = await this.#next
    if (done === true) throw new Error('A file in the store is shorter than it was written.')
    this.#chunk = value
    this.#next = this.#ask()
  }

  // A failure is met where the chunk is needed; until then it is nobody's.
  #ask(): Promise<IteratorResult<Buffer>> {
    const next = this.#source.next()
    next.catch(() => {})
    return next
  }
}
