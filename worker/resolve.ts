import { readFileSync } from 'node:fs'
import { lookup, Resolver } from 'node:dns/promises'

/** All addresses of a host name. Rejects when there are none. */
export type Resolve = (host: string) => Promise<string[]>

const CACHE_MS = 5_000
const CACHE_ENTRIES_MAX = 1_000
const QUERY_TIMEOUT_MS = 2_000
/** getaddrinfo blocks one of libuv's four threads for as long as a name server cares to stall it. */
const SYSTEM_LOOKUPS_MAX = 2

/**
 * Name lookups that one client's stalling name server can't hold up for the others: DNS is asked without a thread,
 * and only names that DNS does not know (single labels, `/etc/hosts`, search domains) go to the system's resolver, two at a
 * time. Answers are kept for 5 s and asked for once however many wait: the check of an address is made at each
 * connect all the same.
 * @param options.servers `address:port` of name servers instead of the system's.
 */
export function createResolver(options: { servers?: string[]; queryTimeoutMs?: number } = {}): Resolve {
  const dns = new Resolver({ timeout: options.queryTimeoutMs ?? QUERY_TIMEOUT_MS, tries: 2 })
  if (options.servers) dns.setServers(options.servers)
  const hostsFile = readHostsFile()
  const withLane = createLanes(SYSTEM_LOOKUPS_MAX)
  const cache = new Map<string, { answer: Promise<string[]>; untilMs: number }>()

  async function askDns(host: string): Promise<string[]> {
    const answers = await Promise.allSettled([dns.resolve4(host), dns.resolve6(host)])
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    if (addresses.length > 0) return addresses
    const failure: unknown = answers.find((answer) => answer.status === 'rejected')?.reason
    throw failure instanceof Error ? failure : new Error('no address')
  }

  async function askSystem(host: string): Promise<string[]> {
    const records = await withLane(() => lookup(host, { all: true }))
    return records.map(({ address }) => address)
  }

  async function ask(host: string): Promise<string[]> {
    if (!host.includes('.') || hostsFile.has(host)) return askSystem(host)
    try {
      return await askDns(host)
    } catch (error) {
      // A name server that stalled one query would stall a thread next.
      if (error instanceof Error && 'code' in error && error.code === 'ETIMEOUT') throw error
      return askSystem(host)
    }
  }

  return function resolve(host) {
    const kept = cache.get(host)
    if (kept && kept.untilMs > Date.now()) return kept.answer
    cache.delete(host)
    const [oldest] = cache.size >= CACHE_ENTRIES_MAX ? cache.keys() : []
    if (oldest !== undefined) cache.delete(oldest)
    const answer = ask(host)
    cache.set(host, { answer, untilMs: Date.now() + CACHE_MS })
    // A failure is not kept: the next connect asks again.
    answer.catch(() => cache.delete(host))
    return answer
  }
}

/** Runs at most `lanesMax` at once; the others wait in line. */
function createLanes(lanesMax: number) {
  let running = 0
  const waiting: (() => void)[] = []
  return async function withLane<T>(run: () => Promise<T>): Promise<T> {
    if (running >= lanesMax) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      return await run()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

function readHostsFile(): Set<string> {
  try {
    const lines = readFileSync('/etc/hosts', 'utf8').split('\n')
    return new Set(lines.flatMap((line) => (line.split('#')[0] ?? '').trim().split(/\s+/).slice(1)))
  } catch {
    return new Set()
  }
}
