import { setTimeout as pause } from 'node:timers/promises'
import type { Fleet } from './fleet.ts'

const TIMEOUT_MS = 90_000
const AGAIN_MS = 250

export type Asked = {
  key: string
  body?: object
  headers?: Record<string, string>
  /** Which API it goes to; another one with each try. */
  api?: number
}

export type Answered = { status: number; headers: Headers; json: unknown }

/** One HTTP call to an API of the fleet. @throws when there is no answer. */
export async function call(fleet: Fleet, method: string, path: string, asked: Asked): Promise<Answered> {
  const response = await fetch(`${fleet.url(asked.api ?? 0)}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${asked.key}`,
      ...(asked.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...asked.headers,
    },
    body: asked.body === undefined ? undefined : JSON.stringify(asked.body),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, json: parse(text) }
}

/**
 * Calls until there is an answer that is not for want of a Redis or of room, as a careful client does.
 * @throws {Error} when there is none in `patienceMs`
 */
export async function insist(
  fleet: Fleet,
  method: string,
  path: string,
  asked: Asked & { patienceMs?: number },
): Promise<Answered> {
  const giveUpAt = performance.now() + (asked.patienceMs ?? 180_000)
  let last: unknown
  for (let tries = 0; performance.now() < giveUpAt; tries += 1) {
    try {
      const answer = await call(fleet, method, path, { ...asked, api: (asked.api ?? 0) + tries })
      if (answer.status < 500 && answer.status !== 409) return answer
      last = `${answer.status} ${JSON.stringify(answer.json)}`
    } catch (error) {
      last = error
    }
    await pause(AGAIN_MS)
  }
  throw new Error(`${method} ${path} had no answer: ${String(last)}`, { cause: last })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
