import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../shared/schemas/job.ts'
import { dumpFolder, dumpRedis } from '../support/dump.ts'
import { eventually, gate } from '../support/eventually.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { completion, failure, startProvider, type TestProvider } from '../support/provider.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { ownRedis, startRedis } from '../support/redis.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import { ask, ownConfig } from '../support/requests.ts'

const { isPossible, reason } = ownRedis()
if (!isPossible) console.log(`skipped: ${reason}`)

/** What must be found nowhere, and what must be found, or else the search is blind. */
const KEY = 'sk-canary-key-8fK2'
const PROMPT = 'canary-prompt-Q7xL'
const RESULT = 'canary-result-Z3mN'
const HOOK_SECRET = 'canary-hook-secret-W9pT'
const SECRETS = [KEY, PROMPT, RESULT, HOOK_SECRET]
const MARK = 'plain-mark-R5vB'

describe.skipIf(!isPossible)('secrets', () => {
  let redis: RedisProcess
  let provider: TestProvider
  let receiver: TestReceiver
  let gateway: Gateway
  const answers: string[] = []

  beforeAll(async () => {
    redis = await startRedis('always')
    provider = await startProvider()
    receiver = await startReceiver()
    gateway = await startGateway({ redisUrl: redis.url, env: { LOG_LEVEL: 'trace' } })
    // A compressed dump file could not be searched; and Redis shall not rewrite before we look.
    await gateway.redis.config('SET', 'rdbcompression', 'no')
    await gateway.redis.config('SET', 'auto-aof-rewrite-percentage', '0')
  })

  afterAll(async () => {
    await gateway?.stop()
    await Promise.all([provider?.close(), receiver?.close()])
    await redis?.stop()
  })

  beforeEach(() => {
    provider.ledger.length = 0
    receiver.received.length = 0
    answers.length = 0
  })

  const config = (settings: Record<string, unknown> = {}) =>
    ownConfig(
      { url: provider.url, key: KEY, extra_headers: { 'x-mark': 'header' } },
      { num_retries: 0, ...settings },
    )
  const options = () => ({
    metadata: { mark: MARK },
    webhook: { url: receiver.url, secret: HOOK_SECRET },
  })

  /** Live data, files on disk (a fresh dump file among them) and all output so far. */
  async function everything(): Promise<Buffer> {
    await gateway.redis.save()
    return Buffer.concat([
      await dumpRedis(gateway.redis),
      await dumpFolder(redis.folder),
      Buffer.from(gateway.logs()),
    ])
  }

  async function rewriteAof(): Promise<void> {
    await gateway.redis.bgrewriteaof()
    await eventually('the append-only file is rewritten', async () => {
      const info = await gateway.redis.info('persistence')
      return /aof_rewrite_in_progress:0/.test(info) && /aof_rewrite_scheduled:0/.test(info)
    })
  }

  test('credentials, prompt and result are sealed while the job runs; the credentials’ ciphertext goes with its end, from the append-only file with the next rewrite', async () => {
    const held = gate()
    provider.answer(() => ({ ...completion(RESULT), until: held.opened }))
    const { id } = await gateway.submit(ask(config(), PROMPT), options())
    await eventually('the call is made', () => provider.open() === 1)
    expect(provider.ledger[0]?.key).toBe(KEY)

    const running = await everything()
    expect(running.includes(MARK)).toBe(true)
    expectNoSecret(running)
    const sealed = await gateway.redis.hgetBuffer(gateway.keys.job(id), 'cred')
    expect(sealed?.length).toBeGreaterThan(40)
    const ciphertext = sealed ?? Buffer.alloc(0)

    held.open()
    expect(await gateway.ended(id)).toMatchObject({ status: 'completed' })
    await eventually('the webhook came', () => receiver.received.length === 1)
    expect(await gateway.redis.hexists(gateway.keys.job(id), 'cred')).toBe(0)
    expect((await dumpRedis(gateway.redis)).includes(ciphertext)).toBe(false)
    const ended = await everything()
    expect(ended.includes(MARK)).toBe(true)
    expectNoSecret(ended)
    // The append-only file is a log: it holds the (sealed) past until it is rewritten.
    expect((await dumpFolder(redis.folder)).includes(ciphertext)).toBe(true)
    await rewriteAof()
    const rewritten = await dumpFolder(redis.folder)
    expect(rewritten.includes(MARK)).toBe(true)
    expect(rewritten.includes(ciphertext)).toBe(false)
    expectNoSecret(rewritten)

    const webhook = receiver.received[0]
    expect(webhook?.text).toContain(id)
    expectNoSecret(webhook?.text + JSON.stringify(webhook?.headers))
  })

  test.each(['failed', 'cancelled', 'expired'])(
    'the credentials of a %s job are erased with its end',
    async (status) => {
      provider.answer(() => (status === 'failed' ? failure(400, 'bad_request') : { kind: 'hang' }))
      const { id } = await gateway.submit(
        ask(config(), PROMPT),
        status === 'expired' ? { expires_in: 1 } : {},
      )
      if (status !== 'failed') {
        await eventually('the call is made', () => provider.open() === 1)
        expect(await gateway.redis.hexists(gateway.keys.job(id), 'cred')).toBe(1)
      }
      if (status === 'cancelled') await gateway.call('POST', `/v1/jobs/${id}/cancel`)
      expect(await gateway.ended(id)).toMatchObject({ status })
      expect(await gateway.redis.hexists(gateway.keys.job(id), 'cred')).toBe(0)
    },
  )

  test('a provider that repeats the key in its error spreads it nowhere', async () => {
    const echo = (request: { key: string | null }) => ({
      kind: 'reply' as const,
      status: 401,
      headers: { 'x-request-id': KEY },
      body: {
        error: { message: `Incorrect API key provided: ${request.key}`, type: KEY, param: KEY, code: KEY },
      },
    })
    provider.answer(echo)
    // A refused key cools its deployment, and the second call is not to wait for that.
    const refused = config({ disable_cooldowns: true })
    const { id } = await gateway.submit(ask(refused, PROMPT), options())
    const job = await gateway.ended(id)
    expect(job).toMatchObject({ status: 'failed', attempts: [{ status_code: 401 }] })
    const sync = await gateway.call('POST', '/v1/chat/completions', { body: ask(refused, PROMPT) })
    expect(sync.status).toBe(401)
    await eventually('the webhook came', () => receiver.received.length === 1)
    expectNoSecret(await everything())
    expectNoSecret(JSON.stringify(job.attempts) + JSON.stringify(job.error) + sync.text, [
      KEY,
      PROMPT,
      HOOK_SECRET,
    ])
    expectNoSecret(JSON.stringify([...sync.headers]), [KEY])
    expectNoSecret(receiver.received.map(({ text }) => text).join('\n'))
  })

  test('what signs a call of Amazon’s is sealed, erased, and told by nothing that repeats it', async () => {
    const held = gate()
    const message = `The security token ${KEY} of AKIACANARY is invalid`
    const headers = { 'x-amzn-requestid': KEY, 'x-amzn-errortype': KEY }
    provider.answer(() => ({ kind: 'reply', status: 403, body: { message }, headers, until: held.opened }))
    const signed = { aws_access_key_id: 'AKIACANARY', aws_secret_access_key: KEY, aws_session_token: KEY }
    const litellm_params = {
      model: 'bedrock/amazon.nova-lite-v1:0',
      api_base: provider.url,
      aws_region_name: 'us-east-1',
      ...signed,
    }
    const list = { model_list: [{ model_name: 'mine', litellm_params }], num_retries: 0 }
    const { id } = await gateway.submit(ask(list, PROMPT), options())
    await eventually('the call is made', () => provider.open() === 1)
    expect(provider.ledger[0]?.headers).toMatchObject({ 'x-amz-security-token': KEY })
    expectNoSecret(await everything())
    held.open()
    const job = await gateway.ended(id)
    expect(job).toMatchObject({ status: 'failed', attempts: [{ status_code: 403 }] })
    expect(await gateway.redis.hexists(gateway.keys.job(id), 'cred')).toBe(0)
    await eventually('the webhook came', () => receiver.received.length === 1)
    const shown = JSON.stringify(job) + receiver.received.map(({ text }) => text).join()
    for (const found of [await everything(), shown]) expectNoSecret(found, [...SECRETS, 'AKIACANARY'])
  })

  test('what a client got wrong is named by its path, never by its value', async () => {
    const bodies: unknown[] = [
      ask({ ...config(), redis_password: KEY }),
      ask({ ...config(), num_retries: KEY }),
      ask(config({ fallbacks: [{ mine: KEY }] })),
      ask(ownConfig({ url: provider.url, key: KEY, api_base: `http://user:${KEY}@127.0.0.1/v1` })),
      ask(ownConfig({ url: provider.url, key: KEY, api_base: `https://10.0.0.1/${KEY}` })),
      ask(ownConfig({ url: provider.url, key: KEY, extra_headers: { authorization: KEY } })),
      { model: 'gpt-4o', messages: [], api_key: [KEY] },
      { model: 'gpt-4o', messages: [], api_key: `os.environ/${KEY}` },
      { model: 'gpt-4o', messages: [], vertex_credentials: KEY, api_key: KEY },
    ]
    for (const body of bodies) {
      const answer = await gateway.call('POST', '/v1/chat/completions', { body })
      expect(answer.status, answer.text).toBe(400)
      expectNoSecret(answer.text)
    }
    const malformed = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.masterKey}`, 'content-type': 'application/json' },
      body: `{"api_key": "${KEY}", oops`,
    })
    expect(malformed.status).toBe(400)
    expectNoSecret(await malformed.text())
    const unauthorised = await gateway.call('GET', '/v1/jobs', { key: KEY })
    expect(unauthorised.status).toBe(401)
    expectNoSecret(unauthorised.text)
    const lost = await gateway.call('GET', `/v1/jobs/${KEY}?api_key=${KEY}`)
    expect(lost.status).toBe(404)
    expectNoSecret(gateway.logs(), [...SECRETS, gateway.masterKey])
    expectNoSecret(await everything())
  })
})

describe('encryption keys', () => {
  test('rotate: what the old key sealed still opens; without it the job fails and says which key is missing', async () => {
    const provider = await startProvider()
    const [first, second] = [randomBytes(32), randomBytes(32)].map((bytes) => bytes.toString('base64'))
    const gateway = await startGateway({ workers: 0, env: { GATEWAY_ENCRYPTION_KEYS: `old:${first}` } })
    try {
      const config = ownConfig({ url: provider.url, key: 'sk-own' })
      const kept = await gateway.submit(ask(config))
      const rotated = await gateway.addWorker({ GATEWAY_ENCRYPTION_KEYS: `new:${second},old:${first}` })
      const job = await eventually('it ends', async () => {
        const ended = await gateway.redis.hget(gateway.keys.job(kept.id), 'status')
        return ended === 'completed'
      })
      expect(job).toBe(true)
      // The result is sealed with the new key, which the API does not have: an error, and never a wrong answer.
      const answer = await gateway.call('GET', `/v1/jobs/${kept.id}`)
      expect(answer).toMatchObject({ status: 500, json: { error: { code: 'seal_unknown_key' } } })
      rotated.kill('SIGTERM')
      await rotated.ended()

      const lost = await gateway.submit(ask(config))
      await gateway.addWorker({ GATEWAY_ENCRYPTION_KEYS: `new:${second}` })
      await eventually('it fails', async () => {
        return (await gateway.redis.hget(gateway.keys.job(lost.id), 'status')) === 'failed'
      })
      gateway.env.GATEWAY_ENCRYPTION_KEYS = `new:${second},old:${first}`
      gateway.api.kill('SIGTERM')
      await gateway.api.ended()
      await gateway.replaceApi()
      const failed = (await gateway.call('GET', `/v1/jobs/${lost.id}`)).json as Job
      expect(failed).toMatchObject({ status: 'failed', error: { code: 'seal_unknown_key' } })
      expect(failed.error?.message).toContain('"old"')
      expect((await gateway.job(kept.id)).status).toBe('completed')
      expect(provider.ledger).toHaveLength(1)
    } finally {
      await gateway.stop()
      await provider.close()
    }
  })
})

function expectNoSecret(where: Buffer | string, secrets = SECRETS): void {
  const bytes = Buffer.from(where)
  expect(secrets.filter((secret) => bytes.includes(secret))).toEqual([])
  // As somebody might have encoded it.
  expect(
    secrets.filter((secret) => bytes.includes(Buffer.from(secret).toString('base64').slice(0, -4))),
  ).toEqual([])
}
