import { existsSync, readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startProcess } from '../support/processes.ts'
import { testRedis } from '../support/redis.ts'
import { freePort } from '../support/redis-process.ts'
import { createMachine, isRunning, type Machine, type RunningMachine } from './one-machine.ts'

/** Of util-linux: runs a command on a terminal of its own. */
const SCRIPT = '/usr/bin/script'

const COMPLETION = {
  model: 'm',
  messages: [{ role: 'user', content: 'Hello' }],
  user_config: {
    model_list: [
      {
        model_name: 'm',
        litellm_params: { model: 'openai/gpt-4o-mini', api_key: 'sk-x', mock_response: 'It works.' },
      },
    ],
  },
}

function keyOf(machine: Machine): string {
  const file = readFileSync(join(machine.folder, 'keys', 'keys.env'), 'utf8')
  return /^GATEWAY_MASTER_KEY=(.*)$/m.exec(file)?.[1] ?? ''
}

async function call(url: string, key: string, path: string, body?: object) {
  const response = await fetch(`${url}${path}`, {
    method: body ? 'POST' : 'GET',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: body ? JSON.stringify(body) : undefined,
  })
  // A job's fields; other answers are matched as a whole.
  return { status: response.status, json: (await response.json()) as { id: string; status: string } }
}

function complete(url: string, key: string) {
  return call(url, key, '/v1/chat/completions', COMPLETION)
}

describe('a gateway started with one command', () => {
  let machine: Machine
  let running: RunningMachine

  beforeAll(async () => {
    machine = await createMachine()
    running = await machine.start([], { GATEWAY_METRICS_PORT: String(await freePort()) })
  })

  afterAll(() => machine.cleanup())

  test('prints where each process shows its metrics', async () => {
    const urls = /Metrics \(API, then workers\): (.*)/.exec(running.output())?.[1]?.split('  ') ?? []
    const told = await Promise.all(urls.map(async (url) => (await fetch(url)).text()))
    const processes = told.map((text) => /byok_build_info{.*process="(\w+)"/.exec(text)?.[1])
    expect(processes).toEqual(['api', 'worker'])
  })

  test('prints a first request that works, and where its key is but not the key, since this is no terminal', async () => {
    const output = running.output()
    const [, path, body = ''] = /curl http:\/\/[^/]+(\/\S+)[^]*-d '(.*)'/.exec(output) ?? []
    expect(output).toContain(join(machine.folder, 'keys', 'keys.env'))
    expect(output).not.toContain(keyOf(machine))
    const answer = await call(running.url, keyOf(machine), path ?? '', JSON.parse(body))
    expect(answer).toMatchObject({ status: 200, json: { object: 'chat.completion' } })
  })

  test('has no secret on a command line', () => {
    for (const pid of existsSync('/proc') ? running.pids() : []) {
      expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(keyOf(machine))
    }
  })

  test('takes keys made by the command line until they are revoked there', async () => {
    const created = await machine.run(['keys', 'create', '--tenant', 'acme', '--name', 'ci'])
    const key = /^sk-\S+$/m.exec(created.output)?.[0] ?? ''
    expect((await call(running.url, key, '/v1/models')).status).toBe(200)

    const listed = await machine.run(['keys', 'list'])
    expect(listed.output).toMatch(/^key_\w+\tacme\t.*\tci\tsubmit,read$/m)
    expect(listed.output).not.toContain(key)
    const id = listed.output.split('\t')[0] ?? ''
    expect(await machine.run(['keys', 'revoke', id])).toEqual({ code: 0, output: `${id} is revoked.\n` })
    await eventually(
      'the key is refused',
      async () => (await call(running.url, key, '/v1/models')).status === 401,
    )
    expect(await machine.run(['keys', 'revoke', id])).toMatchObject({
      code: 1,
      output: expect.stringContaining(id),
    })
  })

  test('refuses a second start on the same data folder', async () => {
    const second = await machine.run(['start'])
    expect(second.code).toBe(1)
    expect(second.output).toMatch(/byok-gateway: The data folder .* is in use by another gateway/)
  })

  test('starts its crashed worker, API and Redis again, says so, and goes on', async () => {
    const before = ['worker', 'API', 'Redis'].map((name) => [name, running.pidOf(name)] as const)
    for (const [, pid] of before) process.kill(pid, 'SIGKILL')
    for (const [name, pid] of before) {
      await eventually(`${name} runs again`, () => running.pidOf(name) !== pid)
      expect(running.output()).toContain(`${name} ended unexpectedly; starting it again in 0.5 s`)
    }
    await eventually('it answers', async () => (await complete(running.url, keyOf(machine))).status === 200)
  })

  test('Ctrl-C leaves no process behind, and the next start finds the jobs', async () => {
    const submitted = { endpoint: '/v1/chat/completions', body: COMPLETION }
    const { json: job } = await call(running.url, keyOf(machine), '/v1/jobs', submitted)
    await eventually('the job is done', async () => {
      const { json } = await call(running.url, keyOf(machine), `/v1/jobs/${job.id}?wait=2`)
      return json.status === 'completed'
    })
    expect(await running.interrupt()).toBe(0)
    expect(running.pids().filter(isRunning)).toEqual([])

    running = await machine.start()
    const result = await call(running.url, keyOf(machine), `/v1/jobs/${job.id}/result`)
    expect(result).toMatchObject({ status: 200, json: { choices: [{ message: { content: 'It works.' } }] } })
  })

  test('a start that was killed takes its API and worker along, and the next one takes over its Redis', async () => {
    const redisPid = running.pidOf('Redis')
    running.process.kill('SIGKILL')
    const children = [running.pidOf('API'), running.pidOf('worker')]
    await eventually('API and worker have ended', () => !children.some(isRunning))

    running = await machine.start()
    // Its parent is gone: the system's first process takes its time to bury it.
    await eventually('the old Redis has ended', () => !isRunning(redisPid))
    expect((await complete(running.url, keyOf(machine))).status).toBe(200)
  })
})

describe('on a machine of its own', () => {
  let machine: Machine

  beforeEach(async () => {
    machine = await createMachine()
  })

  afterEach(() => machine.cleanup())

  test.runIf(existsSync(SCRIPT))('a terminal is shown the new key at the first start only', async () => {
    const command = `${process.execPath} ${join(import.meta.dirname, '../../cli/byok-gateway.mjs')} start`
    const shown = []
    for (let count = 0; count < 2; count += 1) {
      const terminal = startProcess(SCRIPT, ['-qefc', command, '/dev/null'], {
        env: machine.env,
        cwd: machine.folder,
      })
      await eventually('the gateway is ready', () => terminal.output().includes('curl http'), {
        timeoutMs: 30_000,
      })
      terminal.kill('SIGTERM')
      await terminal.ended()
      shown.push(terminal.output().includes(`export GATEWAY_KEY=${keyOf(machine)}`))
    }
    expect(shown).toEqual([true, false])
  })

  test('a port that is taken, and a config that is refused, are said in a sentence and leave nothing running', async () => {
    const server = createServer()
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const taken = await machine.run(['start'], { PORT: String(port) })
    await new Promise((done) => server.close(done))
    expect(taken).toMatchObject({
      code: 1,
      output: expect.stringContaining(`Port ${port} of 127.0.0.1 is taken`),
    })

    await writeFile(join(machine.folder, 'config.yaml'), 'model_list: [{}]\n')
    const refused = await machine.run(['start'])
    expect(refused).toMatchObject({ code: 1, output: expect.stringContaining('model_list') })
    expect(refused.output).not.toContain('childPid')
  })

  test('with REDIS_URL it runs the API and as many workers as asked for on that Redis, with secrets that are set', async () => {
    const redis = testRedis()
    try {
      const elsewhere = { REDIS_URL: redis.url, GATEWAY_KEY_PREFIX: redis.prefix }
      const refused = await machine.run(['start'], elsewhere)
      expect(refused).toMatchObject({ code: 1, output: expect.stringContaining('GATEWAY_ID_SECRET') })
      expect(refused.output).not.toContain('childPid')

      const secrets = {
        GATEWAY_ID_SECRET: 'x'.repeat(32),
        GATEWAY_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
      }
      const unplaced = await machine.run(['start'], { ...elsewhere, ...secrets })
      expect(unplaced).toMatchObject({ code: 1, output: expect.stringContaining('GATEWAY_FILES is needed') })
      expect(unplaced.output).not.toContain('childPid')

      const files = { GATEWAY_FILES: `file:${join(machine.folder, 'shared')}` }
      const running = await machine.start(['--workers', '2'], { ...elsewhere, ...secrets, ...files })
      const started = [...running.output().matchAll(/"msg":"(.+?) started"/g)].map((match) => match[1])
      expect(started).toEqual(['API', 'worker 1', 'worker 2'])
      const created = await machine.run(['keys', 'create', '--tenant', 'acme'], elsewhere)
      expect(await complete(running.url, created.output.trim())).toMatchObject({ status: 200 })
      expect(await running.interrupt()).toBe(0)
    } finally {
      await redis.cleanup()
    }
  })

  test('keys without a gateway to keep them are refused with what to do', async () => {
    const { code, output } = await machine.run(['keys', 'list'])
    expect({ code, output }).toMatchObject({
      code: 1,
      output: expect.stringContaining('Start it (npm start)'),
    })
  })

  test('config check prints the model groups and the warnings, or what is wrong', async () => {
    const file = join(machine.folder, 'operator.yaml')
    await writeFile(
      file,
      'model_list: [{ model_name: fast, litellm_params: { model: openai/gpt-4o-mini, api_key: os.environ/K } }]\n',
    )
    const good = await machine.run(['config', 'check', file], { K: 'sk-operator' })
    expect(good).toMatchObject({ code: 0, output: expect.stringContaining('Model groups: fast') })
    await writeFile(file, 'model_list: {}\n')
    expect(await machine.run(['config', 'check', file])).toMatchObject({ code: 1 })
  })
})
