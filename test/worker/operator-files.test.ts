import { afterEach, expect, test } from 'vitest'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import { createBedrock } from '../../worker/providers/bedrock.ts'
import { createGemini } from '../../worker/providers/gemini.ts'
import { startProvider } from '../support/provider.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** What the provider was sent for a file at this address, and what became of the call. */
async function send(url: string, format: string, changes: Partial<CredentialBundle>) {
  const upstream = await startProvider()
  closers.push(() => upstream.close())
  const outbound = createLocalOutbound()
  closers.push(() => outbound.close())
  const content = [{ type: 'file', file: { file_id: url, format } }]
  const bundle = { api_base: upstream.url, api_key: 'key', ...changes }
  const provider = bundle.provider === 'bedrock' ? createBedrock(outbound) : createGemini(outbound)
  const outcome = await provider.call(callOf(bundle, { model: 'g', messages: [{ role: 'user', content }] }))
  return { outcome, sent: upstream.ledger.map(({ text }) => text).join('') }
}

const BEDROCK = {
  provider: 'bedrock',
  model: 'amazon.nova-lite-v1:0',
  auth: { aws_region_name: 'us-east-1' },
}
const GEMINI = { provider: 'gemini', model: 'gemini-2.5-flash' }
const FILES = 'https://generativelanguage.googleapis.com/v1beta/files/abc'
const STORED: [Partial<CredentialBundle>, string, string][] = [
  [BEDROCK, 's3://payroll/2026.png', 'image/png'],
  [GEMINI, 'gs://payroll/2026.pdf', 'application/pdf'],
  [GEMINI, FILES, 'application/pdf'],
]

test.each(STORED)(
  "%# the operator's credential opens no file that a client names: %s",
  async (bundle, url, type) => {
    const { outcome, sent } = await send(url, type, { ...bundle, is_operators: true })
    expect(outcome).toMatchObject({ error: { class: 'bad_request', param: 'messages[0].content[0]' } })
    expect(sent).toBe('')
  },
)

test.each(STORED)("%# a client's own does: %s", async (bundle, url, type) => {
  expect((await send(url, type, bundle)).sent).toContain(url)
})

test('what anybody may see stays an address', async () => {
  const url = 'https://youtu.be/9hE5-98ZeCg'
  expect((await send(url, 'video/mp4', { ...GEMINI, is_operators: true })).sent).toContain(url)
})
