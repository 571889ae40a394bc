const NEWLINE = 0x0a

/** The whole lines of some bytes, each with its newline, as many at a time as there are; a last one without its end is left out. */
export async function* wholeLines(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer[]> {
  let rest: Uint8Array[] = []
  for await (const piece of source) {
    const end = piece.lastIndexOf(NEWLINE) + 1
    if (end === 0) {
      rest.push(piece)
      continue
    }
    const lines = Buffer.concat([...rest, piece.subarray(0, end)])
    rest = end < piece.length ? [piece.subarray(end)] : []
    yield cut(lines)
  }
}

function cut(lines: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let from = 0; from < lines.length;) {
    const to = lines.indexOf(NEWLINE, from) + 1
    found.push(lines.subarray(from, to))
    from = to
  }
  return found
}
