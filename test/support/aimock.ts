import { LLMock } from '@copilotkit/aimock'

/** aimock as the provider: OpenAI and Azure in their own wire formats. The caller stops it. */
export async function startAimock(answer = 'This is a test.') {
  const mock = new LLMock({ port: 0, host: '127.0.0.1', journalMaxEntries: 0 })
  mock.on({ predicate: () => true }, { content: answer })
  await mock.start()
  return { mock, url: mock.url, requests: () => mock.getRequests(), close: () => mock.stop() }
}
