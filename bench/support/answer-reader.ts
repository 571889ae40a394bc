const HEAD_END = Buffer.from('\r\n\r\n')
const LINE_END = Buffer.from('\r\n')
const COMMENT = ':'.charCodeAt(0)

/** What is known of a streamed answer so far. `fault`: why it is not the one that was expected. */
export type StreamedAnswer = { bytes: number; frames: number; isComplete: boolean; fault: string | null }

/**
 * Reads one HTTP/1.1 answer with a chunked body from a socket, in whatever pieces it comes, and holds each byte against what
 * it must be.
 * @returns a function that takes the next piece and tells how far the body is; `frames` are the HTTP chunks it came in.
 */
export function createAnswerReader(status: number, expected: Buffer): (piece: Buffer) => StreamedAnswer {
  const answer: StreamedAnswer = { bytes: 0, frames: 0, isComplete: false, fault: null }
  let rest: Buffer = Buffer.alloc(0)
  let hasHead = false
  let left = 0

  /** @returns how many of these bytes were used; 0: more are needed. */
  function step(bytes: Buffer): number {
    if (!hasHead) return readHead(bytes)
    if (left > 2) return readBody(bytes.subarray(0, left - 2))
    if (left > 0) {
      // The line end behind a frame.
      if (bytes.length < left) return 0
      left = 0
      return 2
    }
    return readSize(bytes)
  }

  function readHead(bytes: Buffer): number {
    const end = bytes.indexOf(HEAD_END)
    if (end < 0) return 0
    const head = bytes.toString('latin1', 0, end)
    if (Number(head.slice(9, 12)) !== status) answer.fault = bytes.toString('utf8').slice(0, 1000)
    else if (!/\r\ntransfer-encoding: *chunked/i.test(head)) answer.fault = `no chunked body: ${head}`
    hasHead = true
    return end + HEAD_END.length
  }

  function readSize(bytes: Buffer): number {
    const end = bytes.indexOf(LINE_END)
    if (end < 0) return 0
    const size = Number.parseInt(bytes.toString('latin1', 0, end), 16)
    if (size > 0) {
      answer.frames += 1
      left = size + 2
      return end + 2
    }
    if (bytes.length < end + 4) return 0
    answer.isComplete = true
    if (answer.bytes !== expected.length) answer.fault = `${answer.bytes} of ${expected.length} bytes came`
    return end + 4
  }

  function readBody(bytes: Buffer): number {
    const at = answer.bytes
    if (at === 0 && bytes[0] === COMMENT) {
      // A gateway says that it is still there when a first event is long in coming.
      left -= bytes.length
      return bytes.length
    }
    if (!bytes.equals(expected.subarray(at, at + bytes.length))) {
      answer.fault = `other bytes at ${at}: ${bytes.toString('utf8').slice(0, 500)}`
    }
    answer.bytes += bytes.length
    left -= bytes.length
    return bytes.length
  }

  return (piece) => {
    let bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    while (bytes.length > 0 && !answer.isComplete && !answer.fault) {
      const used = step(bytes)
      if (used === 0) break
      bytes = bytes.subarray(used)
    }
    rest = bytes
    return answer
  }
}
