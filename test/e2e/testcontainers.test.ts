import { expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'

const IMAGE = process.env.REDIS_IMAGE || 'redis:7-alpine'
const START_TIMEOUT_MS = 60_000

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

/** A Redis in a container, or why there is none: no Docker engine answers, or it can't get the image. */
async function startContainer() {
  // The test stops its own container; the usual reaper is one more image, which a closed network does not have.
  process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'
  const { GenericContainer, Wait } = await import('testcontainers')
  try {
    return await new GenericContainer(IMAGE)
      .withCommand(['redis-server', '--bind', '0.0.0.0', '--protected-mode', 'no', '--appendonly', 'yes'])
      .withExposedPorts(6379)
      .withWaitStrategy(Wait.forLogMessage(/Ready to accept connections/))
      .withStartupTimeout(START_TIMEOUT_MS)
      .start()
  } catch (error) {
    return `no container of ${IMAGE}: ${error instanceof Error ? error.message : 'no reason'}`
  }
}

test('the gateway runs on a Redis in a container, given by its address alone', async (context) => {
  const container = await startContainer()
  if (typeof container === 'string') {
    console.warn(`Skipped: ${container}`)
    context.skip(container)
    return
  }
  try {
    const redisUrl = `redis://${container.getHost()}:${container.getMappedPort(6379)}`
    const gateway = await startGateway({ redisUrl })
    try {
      const answer = await gateway.call('POST', '/v1/chat/completions', { body: COMPLETION })
      expect(answer).toMatchObject({
        status: 200,
        json: { choices: [{ message: { content: 'It works.' } }] },
      })
    } finally {
      await gateway.stop()
    }
  } finally {
    await container.stop()
  }
})
