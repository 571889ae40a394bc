import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A command as it left a process, by the departure it goes with; `words` are its name and arguments, long ones cut. */
export type TappedCommand = { process: string; departure: number; words: string[] }

const WORD_LENGTH_MAX = 300

/**
 * A timetable by which commands go to Redis: what comes waits for the next departure, once it was started; before, all goes at once.
 */
export function createDepartures(everyMs: number) {
  let departed = 0
  let waiting: (() => void)[] = []
  let timer: NodeJS.Timeout | null = null

  function depart(): void {
    departed += 1
    const leaving = waiting
    waiting = []
    for (const leave of leaving) leave()
  }

  return {
    start() {
      timer = setInterval(depart, everyMs)
    },
    async stop() {
      if (timer) clearInterval(timer)
      timer = null
      depart()
    },
    /** How many have left. */
    count: () => departed,
    /** Runs `leave` with the next departure. @returns its number. */
    join(leave: () => void): number {
      if (timer) waiting.push(leave)
      else leave()
      return departed + 1
    },
  }
}

export type Departures = ReturnType<typeof createDepartures>

/**
 * A way to Redis for one process that notes what passes: commands are noted when they leave the process, those that scripts
 * call inside Redis are not seen. They go on by the timetable; answers come back at once. The caller closes it.
 * @param socketPath Unix socket of the Redis behind it.
 * @param note Called with each command, in order within a connection.
 */
export async function startRedisTap(
  socketPath: string,
  process: string,
  departures: Departures,
  note: (command: TappedCommand) => void,
) {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (client) => {
    const redis = connect(socketPath)
    let departure = 0
    const parse = createCommandParser((words) => note({ process, departure, words }))
    client.on('data', (bytes) => {
      departure = departures.join(() => redis.write(bytes))
      parse(bytes)
    })
    redis.on('data', (bytes) => client.write(bytes))
    endTogether(client, redis)
    endTogether(redis, client)
  })

  function endTogether(from: Socket, to: Socket): void {
    sockets.add(from)
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
