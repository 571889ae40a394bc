/** One commit of a log: bytes from `start` on. */
type LogPart = { name: string; start: number; bytes: number }

const LOGS_KNOWN_MAX = 1_000

/**
 * Knows the parts of logs that are kept as objects `<log>/<offset>`. Parts are never changed, and others follow only at
 * the end: what was listed once need not be asked for again.
 * @param list names and sizes of the objects under a prefix, in their order, from the one after `after` on.
 */
export function createLogParts(
  list: (prefix: string, after?: string) => AsyncIterable<{ name: string; bytes: number }[]>,
) {
  const known = new Map<string, LogPart[]>()

  async function look(log: string, to: number): Promise<readonly LogPart[]> {
    const parts = known.get(log) ?? []
    if (endOf(parts) >= to) return parts
    const found: LogPart[] = []
    for await (const page of list(`${log}/`, parts.at(-1)?.name)) {
      for (const { name, bytes } of page) {
        found.push({ name, bytes, start: Number.parseInt(name.slice(log.length + 1), 16) })
      }
    }
    const all = [...parts, ...found]
    if (known.size >= LOGS_KNOWN_MAX) known.clear()
    if (all.length > 0) known.set(log, all)
    return all
  }

  return {
    nameAt: (log: string, offset: number): string => `${log}/${offset.toString(16).padStart(12, '0')}`,

    /** The parts that hold some of the bytes [from, to), in order. */
    async *between(log: string, from: number, to: number): AsyncIterable<LogPart> {
      for (const part of await look(log, to)) {
        if (part.start >= to) return
        if (part.start + part.bytes > from) yield part
      }
    },

    forget(prefix: string): void {
      for (const log of known.keys()) if (log.startsWith(prefix)) known.delete(log)
    },
  }
}

function endOf(parts: readonly LogPart[]): number {
  const last = parts.at(-1)
  return last ? last.start + last.bytes : 0
}
