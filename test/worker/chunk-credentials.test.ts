import { expect, test } from 'vitest'
import { namedByLine, planOfLine, readLine } from '../../shared/batches/batch-lines.ts'
import { createEgressPolicy } from '../../shared/egress.ts'
import { createIds } from '../../shared/ids.ts'
import { createLinePlans } from '../../shared/batches/line-plans.ts'
import type { StoredCredential } from '../../shared/credentials/named-credentials.ts'
import { readOperatorConfig } from '../../shared/settings/operator-config.ts'
import { createChunkCredentials } from '../../worker/chunk-credentials.ts'

const ids = createIds('a stable secret of this test run')
const planDependencies = {
  operator: readOperatorConfig({}, {}),
  egress: createEgressPolicy({ allowedCidrs: [] }),
  ids,
  plans: createLinePlans(),
}
const context = { tenant: 'acme', customer: null, endpoint: '/v1/chat/completions' }
const stored = (key: string): StoredCredential => ({
  customer: null,
  provider: 'openai',
  fields: { api_key: key },
})

function lineOf(fields: object = {}) {
  const body = { model: 'gpt-test', messages: [{ role: 'user', content: 'hi' }] }
  const text = Buffer.from(JSON.stringify({ custom_id: 'a', body, ...fields }))
  return readLine({ line: 0, text, credentials: 'none' })
}

test('a credential is read once for all lines of a chunk, also when they come at once; a read that failed is not kept', async () => {
  const reads: string[] = []
  let isAway = true
  const credentials = createChunkCredentials(async (id) => {
    reads.push(id)
    if (isAway) throw new Error('Redis is away')
    return id === 'cred_gone' ? null : stored(id)
  })
  await expect(credentials.of(['cred_a'])).rejects.toThrow('Redis is away')
  isAway = false
  const found = await Promise.all([
    credentials.of(['cred_a']),
    credentials.of(['cred_a', 'cred_gone']),
    credentials.of(['cred_gone']),
  ])
  expect(found.map(({ named }) => [...named.keys()])).toEqual([['cred_a'], ['cred_a'], []])
  expect(reads).toEqual(['cred_a', 'cred_a', 'cred_gone'])
})

test('what a batch lays under its lines is never called with a key that an earlier chunk had', async () => {
  // The worker has the same object from chunk to chunk, and remembers plans by it.
  const defaults = { credential: 'cred_a', num_retries: 1 }
  const keysOf = async (key: string | null, lines = [lineOf(), lineOf()]) => {
    const credentials = createChunkCredentials(async () => (key === null ? null : stored(key)))
    return Promise.all(
      lines.map(async (line) => {
        const own = await credentials.of(namedByLine(line, defaults))
        const { bundles } = planOfLine(line, defaults, context, { ...planDependencies, credentials: own })
        return bundles?.[0]?.api_key
      }),
    )
  }
  expect(await keysOf('sk-old')).toEqual(['sk-old', 'sk-old'])
  expect(await keysOf('sk-new')).toEqual(['sk-new', 'sk-new'])
  await expect(keysOf(null)).rejects.toMatchObject({ status: 404, code: 'credential_not_found' })
  await expect(keysOf('sk-new', [lineOf({ customer: 'alice' })])).rejects.toMatchObject({ status: 404 })
  expect(await keysOf('sk-new', [lineOf({ api_key: 'sk-own' }), lineOf()])).toEqual(['sk-own', 'sk-new'])
})
