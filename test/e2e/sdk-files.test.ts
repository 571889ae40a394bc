import { fileURLToPath } from 'node:url'
import type { OpenAI } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startBucket, type TestBucket } from '../support/bucket.ts'
import { SDKS } from '../support/clients.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { startProcess } from '../support/processes.ts'
import { missingPythonSdk, PYTHON } from '../support/python.ts'
import { environment } from '../support/redis-process.ts'

const SCRIPT = fileURLToPath(new URL('../support/sdk_files.py', import.meta.url))
const CONTENT = 'the content\n'.repeat(10_000)
const reason = missingPythonSdk()
if (reason) console.log(`skipped: files are not used from Python, since ${reason}`)

/** What the script comes to, whatever the SDK. */
const EXPECTED = {
  created: ['notes.txt', CONTENT.length, 'user_data', 'processed'],
  kept: 7200,
  same: true,
  read: true,
  names: Array.from({ length: 12 }, (_, number) => `${number}.txt`),
  deleted: true,
  failure: [404, 'not_found'],
  left: 0,
}

let bucket: TestBucket
let gateway: Gateway
beforeAll(async () => {
  bucket = await startBucket()
  gateway = await startGateway({ workers: 0, env: { ...bucket.env, GATEWAY_FILES: bucket.place } })
})
afterAll(async () => {
  await gateway?.stop()
  await bucket?.close()
})

/** Uploads with the file first, or last: the SDK sends the fields in the order in which they are written. */
function create(
  client: OpenAI,
  order: 'file first' | 'file last',
  name: string,
  content: string,
  purpose: 'evals' | 'user_data',
) {
  const file = new File([content], name)
  const expires_after = { anchor: 'created_at', seconds: 7200 } as const
  return client.files.create(
    order === 'file first' ? { file, purpose, expires_after } : { purpose, expires_after, file },
  )
}

async function runScript(client: OpenAI, order: 'file first' | 'file last'): Promise<typeof EXPECTED> {
  const created = await create(client, order, 'notes.txt', CONTENT, 'user_data')
  const again = await client.files.retrieve(created.id)
  const read = await (await client.files.content(created.id)).text()
  for (let number = 0; number < 12; number += 1) await create(client, order, `${number}.txt`, 'x', 'evals')
  const names: string[] = []
  for await (const { filename } of client.files.list({ purpose: 'evals', order: 'asc', limit: 5 }))
    names.push(filename)
  const { deleted } = await client.files.delete(created.id)
  const failure = await client.files.retrieve(created.id).then(
    () => [],
    (error: { status: number; code: string }) => [error.status, error.code],
  )
  for await (const file of client.files.list({ limit: 3 })) await client.files.delete(file.id)
  return {
    created: [created.filename, created.bytes, created.purpose, created.status],
    kept: (created.expires_at ?? 0) - created.created_at,
    same: JSON.stringify(again) === JSON.stringify(created),
    read: read === CONTENT,
    names,
    deleted,
    failure,
    left: (await client.files.list()).data.length,
  }
}

for (const { name, make } of SDKS) {
  test.for(['file first', 'file last'] as const)(`files by ${name}, %s, in a bucket`, async (order) => {
    const client = make({ baseURL: `${gateway.url}/v1`, apiKey: gateway.masterKey, maxRetries: 0 })
    expect(await runScript(client, order)).toEqual(EXPECTED)
    expect((await bucket.objects()).size).toBe(0)
  })
}

test.skipIf(reason)('files by Python’s SDK, in a bucket', async () => {
  const env = { ...environment(), GATEWAY_KEY: gateway.masterKey, GATEWAY_URL: gateway.url }
  const run = startProcess(PYTHON, [SCRIPT], { env })
  expect(await run.ended(), run.output()).toBe(0)
  expect(JSON.parse(run.output().trim().split('\n').at(-1) ?? '')).toEqual(EXPECTED)
  expect((await bucket.objects()).size).toBe(0)
})
