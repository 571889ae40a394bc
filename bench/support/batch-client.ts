import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from './gateway.ts'
import { completionBody, userConfigBody } from './requests.ts'

const POLL_MS = 25
const WAIT_S = 30
const STEP_TIMEOUT_MS = 900_000
const ENDPOINT = '/v1/chat/completions'

/** What of a batch is looked at. */
export type SeenBatch = {
  id: string
  status: string
  request_counts: { total: number; completed: number; failed: number }
  errors: unknown
  output_file_id: string | null
}

/** Seconds of the steps of one batch, and where it stood at its end. */
export type BatchRun = { uploadS: number; validateS: number; runS: number; batch: SeenBatch }

/** Lines of a batch: so many completions with a prompt of about `promptBytes`, each with a provider key of its own if wanted. */
export function batchLines(count: number, promptBytes: number, hasOwnKeys = false): string[] {
  const body = completionBody(promptBytes)
  return Array.from({ length: count }, (_, line) => {
    const own = hasOwnKeys ? { api_key: `sk-bench-own-key-${String(line).padStart(8, '0')}` } : {}
    return `${JSON.stringify({ custom_id: `line-${line}`, method: 'POST', url: ENDPOINT, body: { ...body, ...own } })}\n`
  })
}

/** Uses files and batches as a client does, over HTTP. */
export function createBatchClient(gateway: Pick<Gateway, 'url' | 'masterKey'>) {
  const authorization = `Bearer ${gateway.masterKey}`

  async function request<Answer>(path: string, init: RequestInit = {}): Promise<Answer> {
    const signal = AbortSignal.timeout(STEP_TIMEOUT_MS)
    const headers = { authorization, ...(typeof init.body === 'string' ? JSON_TYPE : {}) }
    const response = await fetch(`${gateway.url}/v1${path}`, { ...init, headers, signal })
    const text = await response.text()
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text.slice(0, 500)}`)
    return JSON.parse(text) as Answer // our own API's
  }

  /** @returns the file's id. */
  async function upload(lines: readonly string[]): Promise<string> {
    const form = new FormData()
    form.set('purpose', 'batch')
    form.set('file', new Blob([...lines]), 'bench.jsonl')
    const { id } = await request<{ id: string }>('/files', { method: 'POST', body: form })
    return id
  }

  /** @param settings Fields of the batch beside its file: what lies under its lines, its concurrency. */
  async function create(fileId: string, settings: Record<string, unknown>): Promise<SeenBatch> {
    const batch = { input_file_id: fileId, endpoint: ENDPOINT, completion_window: '24h', ...settings }
    return request<SeenBatch>('/batches', { method: 'POST', body: JSON.stringify(batch) })
  }

  const read = (id: string, query = '') => request<SeenBatch>(`/batches/${id}${query}`)

  /** Resolves when it has begun. @throws an Error when it is refused. */
  async function begun(id: string): Promise<void> {
    for (;;) {
      const batch = await read(id)
      if (batch.status === 'failed') throw new Error(`The batch failed: ${JSON.stringify(batch.errors)}`)
      if (batch.status !== 'validating') return
      await sleep(POLL_MS)
    }
  }

  async function ended(id: string): Promise<SeenBatch> {
    const giveUpAt = performance.now() + STEP_TIMEOUT_MS
    while (performance.now() < giveUpAt) {
      const batch = await read(id, `?wait=${WAIT_S}`)
      if (['completed', 'failed', 'expired', 'cancelled'].includes(batch.status)) return batch
    }
    throw new Error(`The batch did not end: ${JSON.stringify(await read(id))}`)
  }

  /** Runs a batch from its upload to its end. @throws an Error when not every line was answered. */
  async function run(lines: readonly string[], settings: Record<string, unknown>): Promise<BatchRun> {
    const startedAt = performance.now()
    const fileId = await upload(lines)
    const uploadedAt = performance.now()
    const { id } = await create(fileId, settings)
    await begun(id)
    const begunAt = performance.now()
    const batch = await ended(id)
    const endedAt = performance.now()
    if (batch.status !== 'completed' || batch.request_counts.completed !== lines.length)
      throw new Error(`The batch ended otherwise: ${JSON.stringify(batch)}`)
    return {
      uploadS: (uploadedAt - startedAt) / 1000,
      validateS: (begunAt - uploadedAt) / 1000,
      runS: (endedAt - begunAt) / 1000,
      batch,
    }
  }

  return { upload, create, read, begun, ended, run }
}

export type BatchClient = ReturnType<typeof createBatchClient>

/** What lies under the lines of a batch: a `user_config` of two deployments with limits, retries and a fallback. */
export function settingsFor(upstream: string, concurrency: number): Record<string, unknown> {
  return { user_config: userConfigBody(0, upstream)['user_config'], concurrency }
}

const JSON_TYPE = { 'content-type': 'application/json' }
