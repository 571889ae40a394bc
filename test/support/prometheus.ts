import { access } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { mkdir, writeFile } from 'node:fs/promises'
import { eventually, Hopeless } from './eventually.ts'
import { environment, freePort } from './redis-process.ts'
import { startProcess } from './processes.ts'

/** An alert as Prometheus tells of it. */
export type Alert = {
  state: string
  labels: Record<string, string>
  annotations: Record<string, string>
}

/**
 * Where a program of Prometheus is: beside `TEST_PROMETHEUS` (the path of `prometheus`), or on the PATH. Null: nowhere, and a
 * test that needs it is skipped.
 */
export async function findPrometheus(program: 'prometheus' | 'promtool'): Promise<string | null> {
  const named = process.env.TEST_PROMETHEUS
  const folders = named ? [dirname(named)] : (process.env.PATH ?? '').split(delimiter)
  for (const folder of folders) {
    const path = join(folder, program)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path
  }
  return null
}

/** Runs a program to its end. @returns its exit code and all that it wrote. */
export async function runProgram(path: string, args: readonly string[]) {
  const started = startProcess(path, args, { env: environment() })
  return { code: await started.ended(), output: started.output() }
}

/** A real Prometheus that scrapes these addresses every second, as the job `byok-gateway`, and goes by these rules. */
export async function startPrometheus(
  path: string,
  { folder, targets, rules }: { folder: string; targets: readonly string[]; rules: string },
) {
  const port = await freePort()
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: ['rules.yaml'],
    scrape_configs: [{ job_name: 'byok-gateway', static_configs: [{ targets }] }],
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config))
  await writeFile(join(folder, 'rules.yaml'), rules)
  const started = startProcess(
    path,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { env: environment() },
  )

  async function ask<T>(route: string): Promise<T> {
    if (started.hasEnded()) throw new Hopeless(`Prometheus ended: ${started.output()}`)
    const response = await fetch(`http://127.0.0.1:${port}${route}`)
    const { data } = (await response.json()) as { data: T } // Prometheus' API
    return data
  }

  await eventually('Prometheus has scraped all of them', async () => {
    const { activeTargets } = await ask<{ activeTargets: { health: string }[] }>('/api/v1/targets')
    return activeTargets.length === targets.length && activeTargets.every(({ health }) => health === 'up')
  })
  return {
    alerts: async (): Promise<Alert[]> => (await ask<{ alerts: Alert[] }>('/api/v1/alerts')).alerts,
    async stop(): Promise<void> {
      started.kill('SIGTERM')
      await started.ended()
    },
  }
}
