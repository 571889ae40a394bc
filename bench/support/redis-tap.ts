import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A command as it left a process; `words` are its name and arguments, long ones cut. */
export type TappedCommand = { process: string; atMs: number; words: string[] }

const WORD_LENGTH_MAX = 300

/**
 * A way to Redis for one process that can be made slow and that notes what passes: commands are noted when they leave the
 * process, those that scripts call inside Redis are not seen. The caller closes it.
 * @param socketPath Unix socket of the Redis behind it.
 * @param note Called with each command, in order within a connection.
 */
export async function startRedisTap(
  socketPath: string,
  process: string,
  note: (command: TappedCommand) => void,
) {
  let delayMs = 0
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (client) => {
    const redis = connect(socketPath)
    const parse = createCommandParser((words) => note({ process, atMs: performance.now(), words }))
    client.on('data', parse)
    pass(client, redis)
    pass(redis, client)
  })

  // Half of a round trip each way. Timers of one length run in the order they were set, so bytes stay in order.
  function pass(from: Socket, to: Socket): void {
    sockets.add(from)
    from.on('data', (bytes) => {
      if (delayMs === 0) to.write(bytes)
      else setTimeout(() => to.write(bytes), delayMs / 2)
    })
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The tap got no port')
  return {
    url: `redis://127.0.0.1:${address.port}`,
    /** Makes each round trip take this much longer. */
    setDelay: (roundTripMs: number) => {
      delayMs = roundTripMs
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Reads the client's side of Redis's protocol: arrays of bulk strings. */
function createCommandParser(onCommand: (words: string[]) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    for (;;) {
      const parsed = readCommand(rest)
      if (!parsed) return
      onCommand(parsed.words)
      rest = rest.subarray(parsed.end)
    }
  }
}

/** The first whole command of the bytes and where it ends, or null. */
function readCommand(bytes: Buffer): { words: string[]; end: number } | null {
  const count = readNumber(bytes, 0)
  if (!count) return null
  const words: string[] = []
  let at = count.end
  for (let index = 0; index < count.value; index += 1) {
    const length = readNumber(bytes, at)
    if (!length || bytes.length < length.end + length.value + 2) return null
    words.push(bytes.toString('latin1', length.end, length.end + Math.min(length.value, WORD_LENGTH_MAX)))
    at = length.end + length.value + 2
  }
  return { words, end: at }
}

/** A line of one letter and a number, like `*3` or `$5`. */
function readNumber(bytes: Buffer, at: number): { value: number; end: number } | null {
  const lineEnd = bytes.indexOf('\r\n', at)
  if (lineEnd < 0) return null
  return { value: Number(bytes.toString('latin1', at + 1, lineEnd)), end: lineEnd + 2 }
}
