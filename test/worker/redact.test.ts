import { describe, expect, test } from 'vitest'
import { createRedact } from '../../worker/providers/redact.ts'
import { bundleOf } from './provider-calls.ts'

const LINES = ['MIIEvQIBADANBgkqhkiG9w0BAQEFAASC', 'c2hvcnQ=']
const KEY = `-----BEGIN PRIVATE KEY-----\n${LINES.join('\n')}\n-----END PRIVATE KEY-----\n`
const account = {
  type: 'service_account',
  project_id: 'acme-prod',
  private_key_id: 'key-id-7',
  private_key: KEY,
  client_email: 'robot@acme-prod.iam.gserviceaccount.com',
}
const auth = {
  vertex_credentials: JSON.stringify(account),
  vertex_project: 'vertex-project-x',
  vertex_location: 'us-east1',
  aws_access_key_id: 'ACCESSKEYID0',
  aws_secret_access_key: 'aws/secret+key=',
  aws_session_token: 'session-token-1',
  aws_region_name: 'eu-west-1',
  tenant_id: 'tenant-id-9',
  client_id: 'client-id-9',
  client_secret: 'client~secret.9',
  account_id: 'account-id-9',
}
const redact = createRedact(bundleOf({ api_key: 'plain-api-key', auth }))

describe('what a provider says is shown without any secret of its bundle', () => {
  const { vertex_location: _location, aws_region_name: _region, ...secret } = auth
  const secrets = [
    ...Object.values(secret),
    ...LINES,
    KEY,
    JSON.stringify(KEY),
    account.private_key_id,
    account.client_email,
    account.project_id,
  ]
  test.each(secrets)('%j', (text) => {
    for (const form of [text, encodeURIComponent(text), `<${text}>`]) {
      const shown = redact(`It said ${form} again.`)
      for (const part of [text, encodeURIComponent(text), ...LINES]) expect(shown).not.toContain(part)
      expect(shown).toMatch(/^It said .* again\.$/)
    }
  })

  test('a region is a word like any other', () => {
    const text = 'Not available in us-east1 or eu-west-1.'
    expect(redact(text)).toBe(text)
  })
})
