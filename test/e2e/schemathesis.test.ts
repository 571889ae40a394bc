import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'

/** Seconds; the run of all tests has none to spare, so it is run by `npm run fuzz`. */
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 120)
const COMMAND = process.env.TEST_SCHEMATHESIS ?? ''
const CHECKS = fileURLToPath(new URL('../support/fuzz_checks.py', import.meta.url))

/** Models that answer at once, and no call that is held for long. */
const CONFIG = `
model_list:
  - model_name: mine
    litellm_params: { model: openai/mock, api_key: sk-mock, mock_response: "ok" }
`

function isInstalled(): boolean {
  try {
    execFileSync(COMMAND, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test.skipIf(!isInstalled())(
  'schemathesis finds no fault of ours on any route, and each error has its shape',
  { timeout: SECONDS * 1000 + 120_000 },
  async () => {
    const gateway = await startGateway({
      config: CONFIG,
      env: { GATEWAY_SYNC_HOLD_MS: '300', GATEWAY_FILE_BYTES_MAX: '200000' },
    })
    try {
      const args = [
        ['run', `${gateway.url}/openapi.json`, '--url', gateway.url],
        ['--phases', 'examples,coverage,fuzzing', '--max-time', String(SECONDS)],
        ['--checks', 'openai_errors', '--continue-on-failure'],
        ['--header', `Authorization: Bearer ${gateway.masterKey}`],
        ['--suppress-health-check', 'all', '--warnings', 'off', '--request-timeout', '70'],
        // A stream of events goes on for as long as its job.
        ['--exclude-path-regex', '/events$|/docs'],
      ].flat()
      const run = spawn(COMMAND, args, {
        cwd: tmpdir(),
        env: { ...process.env, SCHEMATHESIS_HOOKS: CHECKS, NO_COLOR: '1' },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let output = ''
      for (const stream of [run.stdout, run.stderr]) stream.on('data', (text) => (output += String(text)))
      const [code] = await once(run, 'close')
      expect(code, output.slice(-20_000)).toBe(0)
      expect(gateway.logs()).not.toContain('A request failed')
    } finally {
      await gateway.stop()
    }
  },
)
