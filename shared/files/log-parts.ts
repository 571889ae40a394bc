/** One commit of a log: bytes from `start` on. */
type LogPart = { name: string; start: number; bytes: number }

// A part for each write of a process: of all logs together, some tens of megabytes.
const PARTS_KNOWN_MAX = 200_000

/**
 * Knows the parts of logs that are kept as objects `<log>/<offset>`. Parts are never changed, and others follow only at
 * the end: what was listed once need not be asked for again.
 * @param list names and sizes of the objects under a prefix, in their order, from the one after `after` on.
 */
export function createLogParts(
  list: (prefix: string, after?: string) => AsyncIterable<{ name: string; bytes: number }[]>,
) {
  const known = new Map<string, LogPart[]>()
  let count = 0

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
    drop(log)
    if (count + all.length > PARTS_KNOWN_MAX) {
      known.clear()
      count = 0
    }
    if (all.length > 0) known.set(log, all)
    count += all.length
    return all
  }

  function drop(log: string): void {
    count -= known.get(log)?.length ?? 0
    known.delete(log)
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
      for (const log of known.keys()) if (log.startsWith(prefix)) drop(log)
    },
  }
}

function endOf(parts: readonly LogPart[]): number {
  const last = parts.at(-1)
  return last ? last.start + last.bytes : 0
}
