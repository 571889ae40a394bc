import { readFile } from 'node:fs/promises'
import { request, type IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

const BOUNDARY = 'a-boundary-of-the-tests'

/**
 * Uploads a file that is made while it is sent, in chunks, its length unknown to the server.
 * @param target `order`: which comes first, the file or what it is for.
 */
export async function uploadStream(
  { url, key }: { url: string; key: string },
  content: Iterable<Buffer> | AsyncIterable<Buffer>,
  { purpose, order = 'file last' }: { purpose: string; order?: 'file first' | 'file last' },
): Promise<{ status: number; json: unknown }> {
  const field = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n${purpose}\r\n`
  const head = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n`
  const call = request(`${url}/v1/files`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
  })
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    call.once('response', resolve)
    call.once('error', reject)
  })
  // Who is answered before the end need not send the rest.
  let isAnswered = false
  answered.then(
    () => (isAnswered = true),
    () => (isAnswered = true),
  )
  call.write(order === 'file last' ? field + head : head)
  for await (const chunk of content) {
    if (!call.write(chunk))
      await Promise.race([new Promise((resolve) => call.once('drain', resolve)), answered])
    if (isAnswered) break
  }
  call.end(`\r\n${order === 'file first' ? field : ''}--${BOUNDARY}--\r\n`)
  const response = await answered
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return { status: response.statusCode ?? 0, json: JSON.parse(text) }
}

/** Lines of a batch's input of about this many bytes in all. */
export function* batchLines(bytes: number): Iterable<Buffer> {
  const prompt = 'words of a prompt that goes on and on '.repeat(100)
  for (let sent = 0, number = 0; sent < bytes; number += 1) {
    const body = { model: 'mine', messages: [{ role: 'user', content: prompt }] }
    const line = { custom_id: `line-${number}`, url: '/v1/chat/completions', api_key: `sk-${number}`, body }
    const text = Buffer.from(`${JSON.stringify(line)}\n`)
    sent += text.length
    yield text
  }
}

/**
 * Watches a process while `work` runs: how much its memory grew at most, in bytes, and how long it left a call of
 * `/healthz` waiting at most, in milliseconds.
 */
export async function watchProcess<T>(
  { pid, url }: { pid: number; url: string },
  work: () => Promise<T>,
): Promise<{ result: T; grownBytes: number; stallMs: number }> {
  const done = new AbortController()
  let [peakBytes, stallMs] = [0, 0]
  const before = await residentBytes(pid)
  const poll = async () => {
    while (!done.signal.aborted) {
      const from = performance.now()
      await (await fetch(`${url}/healthz`)).arrayBuffer()
      stallMs = Math.max(stallMs, performance.now() - from)
      peakBytes = Math.max(peakBytes, await residentBytes(pid))
      await pause(2)
    }
  }
  const polling = poll()
  const result = await work().finally(() => done.abort())
  await polling
  return { result, grownBytes: peakBytes - before, stallMs }
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}
