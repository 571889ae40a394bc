import type { FileLog } from './file-store.ts'

type Waiting = {
  bytes: Uint8Array
  offset: number
  resolve: (offset: number) => void
  reject: (cause: unknown) => void
}

/**
 * A log over a function that makes bytes durable at an offset. One commit is under way at a time: what is appended
 * meanwhile goes with the next, so a slow store makes larger commits and not a longer line.
 * @param commitBytesMax a commit is closed when it would grow over it; a larger append goes alone.
 */
export function createGroupCommit(
  commit: (bytes: readonly Uint8Array[], offset: number) => Promise<void>,
  { commitBytesMax, release = async () => {} }: { commitBytesMax: number; release?: () => Promise<void> },
): FileLog {
  let waiting: Waiting[] = []
  let end = 0
  let failure: { cause: unknown } | null = null
  let working: Promise<void> | null = null

  async function work(): Promise<void> {
    while (waiting.length > 0) {
      const group = take()
      try {
        await commit(
          group.map(({ bytes }) => bytes),
          group[0]?.offset ?? 0,
        )
        for (const { resolve, offset } of group) resolve(offset)
      } catch (cause) {
        // What follows would lie behind bytes that may be missing.
        failure = { cause }
        for (const { reject } of [...group, ...waiting]) reject(cause)
        waiting = []
      }
    }
    working = null
  }

  function take(): Waiting[] {
    let size = 0
    const over = waiting.findIndex(({ bytes }, index) => (size += bytes.length) > commitBytesMax && index > 0)
    const group = over < 0 ? waiting : waiting.slice(0, over)
    waiting = over < 0 ? [] : waiting.slice(over)
    return group
  }

  return {
    position: () => end,

    append(bytes) {
      if (failure) return Promise.reject(new Error('This log is closed.', failure))
      const offset = end
      end += bytes.length
      return new Promise((resolve, reject) => {
        waiting.push({ bytes, offset, resolve, reject })
        working ??= work()
      })
    },

    async close() {
      await working
      failure ??= { cause: undefined }
      await release()
    },
  }
}
