import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getBuiltinModule } from 'node:process'
import { ConfigError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { openRegistry, type Metrics } from './registry.ts'

/** Where a process shows its metrics; null: nowhere, and none are kept. */
export type MetricsPlace = { host: string; port: number } | null

/**
 * Shows a process' metrics on a port of their own, `GET /metrics` and nothing else, to whoever reaches it: see
 * docs/decisions/0027. Null when none is set.
 * @throws {ConfigError} when it can't listen there.
 */
export async function openMetrics(
  place: MetricsPlace,
  process: 'api' | 'worker',
  log: Logger,
): Promise<(Metrics & { close: () => void }) | null> {
  if (!place) return null
  const metrics = await openRegistry(process)
  // To import it would load all that Node has for browsers' code beside it, `fetch` and WebSockets: 15 MB and 70 ms.
  const { createServer } = getBuiltinModule('node:http')
  const server = createServer((request, response) => void answer(request, response, metrics, log))
  try {
    await once(server.listen({ host: place.host, port: place.port }), 'listening')
  } catch (error) {
    const why = error instanceof Error ? error.message : 'unknown failure'
    throw new ConfigError(
      `Metrics can't be shown on ${place.host}, port ${place.port} (${why}). Set GATEWAY_METRICS_HOST and GATEWAY_METRICS_PORT.`,
    )
  }
  const { port } = server.address() as AddressInfo // it listens on TCP
  log.info({ metrics_port: port }, 'Metrics are shown')
  return {
    ...metrics,
    close() {
      metrics.close()
      server.close()
      server.closeAllConnections()
    },
  }
}

async function answer(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  metrics: Metrics,
  log: Logger,
): Promise<void> {
  if ((method !== 'GET' && method !== 'HEAD') || url?.split('?')[0] !== '/metrics') {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('Metrics are at /metrics.\n')
    return
  }
  try {
    const text = await metrics.text()
    response.writeHead(200, { 'content-type': metrics.contentType }).end(text)
  } catch (error) {
    log.warn({ err: error }, 'Metrics could not be read')
    response.writeHead(500, { 'content-type': 'text/plain' }).end('Metrics could not be read; see the log.\n')
  }
}
