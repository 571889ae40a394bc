import { readFileSync } from 'node:fs'
import type { Counter } from 'prom-client'

// As fine as the clock that notices a blocked event loop has to be, and no finer: it costs a timer each time.
const EVENT_LOOP_EVERY_MS = 20

// Nobody who asks for metrics again and again makes Redis work for it.
const SAME_MS = 500

// From an answer out of memory to a call that is held as long as one may be.
const SECONDS_BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]

/**
 * Metrics of one process: what Node tells of itself, and what is registered here, each named `byok_...`. prom-client is
 * loaded only where metrics are wanted.
 *
 * Labels are bounded: their values are ours (routes, error classes, the provider catalog), never a client's. Those that
 * calls count by are looked up and kept (`childrenOf`), so that counting one makes no object.
 */
export async function openRegistry(process: 'api' | 'worker') {
  const prom = await import('prom-client')
  const registry = new prom.Registry()
  const registers = [registry]
  const readers: (() => Promise<void> | void)[] = []
  prom.collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: EVENT_LOOP_EVERY_MS })

  let readAt = Number.NEGATIVE_INFINITY
  let last = Promise.resolve('')
  async function readAll(): Promise<string> {
    await Promise.all(readers.map(async (read) => read()))
    return registry.metrics()
  }

  /** Counts what happened. @param labelNames Names of its labels. */
  function counter<Label extends string = never>(name: string, help: string, labelNames: Label[] = []) {
    return new prom.Counter({ name: `byok_${name}`, help, labelNames, registers })
  }

  /** Holds what is now. */
  function gauge<Label extends string = never>(name: string, help: string, labelNames: Label[] = []) {
    return new prom.Gauge({ name: `byok_${name}`, help, labelNames, registers })
  }

  /** Sorts what is measured into buckets, of seconds unless others are given. */
  function histogram<Label extends string = never>(
    name: string,
    help: string,
    labelNames: Label[] = [],
    buckets: readonly number[] = SECONDS_BUCKETS,
  ) {
    return new prom.Histogram({ name: `byok_${name}`, help, labelNames, buckets: [...buckets], registers })
  }

  /** Counts what is counted elsewhere anyway. @param read How much by now. */
  function total(name: string, help: string, read: () => number): void {
    const all = counter(name, help)
    readers.push(() => {
      all.reset()
      all.inc(read())
    })
  }

  gauge('build_info', 'Always 1; what runs here.', ['version', 'node', 'process']).set(
    { version: readVersion(), node: globalThis.process.version, process },
    1,
  )

  return {
    counter,
    gauge,
    histogram,
    total,
    /** Sets gauges before each scrape. What it can't read is to be absent: an old value would be a lie. */
    beforeScrape(read: () => Promise<void> | void): void {
      readers.push(read)
    },
    contentType: registry.contentType,
    /** All of it, as Prometheus reads it; the same again to whoever asks within a moment. */
    text(): Promise<string> {
      if (performance.now() - readAt > SAME_MS) {
        readAt = performance.now()
        last = readAll()
      }
      return last
    },
    close: () => registry.clear(),
  }
}

export type Metrics = Awaited<ReturnType<typeof openRegistry>>

/**
 * Finds what counts for a label's value (a child of a metric, or such a function for its next label), and keeps it.
 * @param known The values that are ours; all others are `other`, so that nobody can make more of them. Those of a set are
 *   there from the start, each at 0: Prometheus sees no rise in what begins at 1.
 */
export function childrenOf<Child>(
  known: ReadonlySet<string> | { has: (value: string) => boolean },
  make: (value: string) => Child,
) {
  const children = new Map<string, Child>()
  if (known instanceof Set) for (const value of known) children.set(value, make(value))
  return function childOf(value: string): Child {
    const found = children.get(value)
    if (found !== undefined) return found
    const name = known.has(value) ? value : 'other'
    const child = children.get(name) ?? make(name)
    children.set(name, child)
    return child
  }
}

/** What counts under these labels, from 0. */
export function countOf<Label extends string>(counter: Counter<Label>, ...labels: string[]) {
  const child = counter.labels(...labels)
  child.inc(0)
  return child
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version // ours
}
