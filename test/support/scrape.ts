import type { TestProcess } from './processes.ts'

/** What one scrape said: the text, and its samples by name with their labels. */
export type Scrape = {
  text: string
  /** The sum of all samples of a metric that have these labels; undefined: there is none. */
  value: (name: string, labels?: Record<string, string>) => number | undefined
  /** Names of metrics, as they are typed; and of their samples (`_bucket`, `_sum`, `_count`). */
  names: ReadonlySet<string>
  /** Each label with the values it had. */
  labels: ReadonlyMap<string, ReadonlySet<string>>
}

/** Where a process of the gateway shows its metrics, by its own log. */
export function metricsUrl(process: TestProcess): string {
  const port = /"metrics_port":(\d+)/.exec(process.output())?.[1]
  if (port === undefined) throw new Error(`The process shows no metrics: ${process.output()}`)
  return `http://127.0.0.1:${port}/metrics`
}

/** Reads a process' metrics as Prometheus does. */
export async function scrape(process: TestProcess): Promise<Scrape> {
  const response = await fetch(metricsUrl(process))
  const text = await response.text()
  if (response.status !== 200) throw new Error(`A scrape was answered ${response.status}: ${text}`)
  const samples = [...text.matchAll(/^([a-z_]\w*)(?:\{(.*)\})? (\S+)$/gm)].map(
    ([, name = '', inside = '', value]) => ({
      name,
      labels: new Map(
        [...inside.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', said = '']) => [key, said]),
      ),
      value: Number(value),
    }),
  )
  const labels = new Map<string, Set<string>>()
  for (const sample of samples) {
    for (const [key, said] of sample.labels) labels.set(key, (labels.get(key) ?? new Set()).add(said))
  }
  const typed = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name)
  return {
    text,
    value(name, wanted = {}) {
      const found = samples.filter(
        (sample) =>
          sample.name === name &&
          Object.entries(wanted).every(([key, said]) => sample.labels.get(key) === said),
      )
      return found.length === 0 ? undefined : found.reduce((sum, sample) => sum + sample.value, 0)
    },
    names: new Set([...typed, ...samples.map(({ name }) => name)]),
    labels,
  }
}
