import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'

/** A client's connection and the proxy's own to the target. */
type Link = {
  client: Socket
  upstream: Socket
  /** Nothing that either end says reaches the other any more. */
  isDead: boolean
  /** The target hears the client, which hears nothing any more. */
  isMute: boolean
}

/**
 * A TCP proxy on 127.0.0.1 that does to connections what networks do to them.
 * @param target URL of what it stands in front of, such as `redis://127.0.0.1:6379`. The caller calls `close`.
 */
export async function createFaultProxy(target: string) {
  const { hostname, port: targetPort } = new URL(target)
  const links = new Set<Link>()
  let isHole = false
  let delayMs = 0
  let msPerByte = 0
  let resets = 0

  const server = createServer((client) => {
    const upstream = createConnection(Number(targetPort), hostname)
    const link: Link = { client, upstream, isDead: isHole, isMute: false }
    links.add(link)
    pass(link, client, upstream)
    pass(link, upstream, client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP

  /** Passes on what `from` says, in its order and no faster than `to` takes it. */
  function pass(link: Link, from: Socket, to: Socket): void {
    let dueAt = 0
    const waiting: { at: number; step: () => void }[] = []
    // One timer for all that waits: timers of their own could overtake each other.
    const goOn = (): void => {
      while (waiting[0] && waiting[0].at <= performance.now()) waiting.shift()?.step()
      if (waiting[0]) setTimeout(goOn, waiting[0].at - performance.now())
    }
    // At once where nothing is on its way: a timer of 0 ms takes one.
    const later = (step: () => void, sizeBytes = 0): void => {
      const now = performance.now()
      dueAt = Math.max(dueAt + sizeBytes * msPerByte, now + delayMs)
      if (dueAt <= now && waiting.length === 0) return step()
      waiting.push({ at: dueAt, step })
      if (waiting.length === 1) setTimeout(goOn, dueAt - now)
      return undefined
    }
    from.setNoDelay(true)
    from.on('data', (chunk) => {
      if (isLost(link, from)) return
      later(() => {
        if (isLost(link, from) || to.destroyed) return
        if (!to.write(chunk)) from.pause()
      }, chunk.length)
    })
    to.on('drain', () => from.resume())
    from.on('end', () => later(() => void (link.isDead || to.end())))
    from.on('error', () => reset(link))
    from.on('close', () => {
      if (!link.isDead) to.destroySoon()
      if (to.destroyed) links.delete(link)
    })
  }

  function reset(link: Link): void {
    links.delete(link)
    for (const socket of [link.client, link.upstream]) {
      // Node forgets a socket that is reset while it ends, without closing it, and then never ends itself.
      if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  return {
    /** The target's URL with the proxy's address in it. */
    url: target.replace(`${hostname}:${targetPort}`, `127.0.0.1:${port}`),
    port,
    /** How many connections stand. */
    size: () => links.size,
    /** How many were reset so far. */
    resets: () => resets,
    /** Resets all connections (RST on both sides). */
    resetAll(): void {
      resets += links.size
      for (const link of links) reset(link)
    },
    /** Resets one connection. @param random 0 to 1, which says which. @returns false when there is none. */
    resetRandom(random: () => number = Math.random): boolean {
      const link = [...links][Math.floor(random() * links.size)]
      if (!link) return false
      resets += 1
      reset(link)
      return true
    },
    /**
     * While on, connections stay open and nothing comes through, nor through any that are opened. Those that were there
     * stay dead when it is over, as behind a firewall that has forgotten them; new ones work.
     */
    blackHole(on: boolean): void {
      isHole = on
      if (on) for (const link of links) link.isDead = true
    },
    /** From now on each chunk takes so long, each way. */
    delay(ms: number): void {
      delayMs = ms
    },
    /** From now on each connection passes on so much, each way; null: as much as there is. */
    throttle(bytesPerSecond: number | null): void {
      msPerByte = bytesPerSecond === null ? 0 : 1_000 / bytesPerSecond
    },
    /** What the target says on connections that stand now reaches nobody any more; what it is told does reach it. */
    halfOpen(): void {
      for (const link of links) link.isMute = true
    },
    async close(): Promise<void> {
      for (const link of links) reset(link)
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function isLost({ isDead, isMute, upstream }: Link, from: Socket): boolean {
  return isDead || (isMute && from === upstream)
}

export type FaultProxy = Awaited<ReturnType<typeof createFaultProxy>>
