import { afterAll, afterEach, beforeAll, beforeEach, vi } from 'vitest'
import type { CredentialBundle } from '../../shared/schemas/plan.ts'
import type { Outbound } from '../../worker/outbound.ts'
import { createAnthropic } from '../../worker/providers/anthropic.ts'
import { createBedrock } from '../../worker/providers/bedrock.ts'
import { createGemini } from '../../worker/providers/gemini.ts'
import type { Provider, ProviderCall } from '../../worker/providers/provider.ts'
import { startProvider, type Answer, type TestProvider } from '../support/provider.ts'
import { poisonEnvironment } from './model-calls.ts'
import { callOf, createLocalOutbound } from './provider-calls.ts'

/**
 * An upstream for a file's tests, a door out to it and a client's bundle that leads there. Before each test the ledger is
 * empty, the environment is poisoned and, where `usual` is given, that is what the upstream answers. Called at the top of
 * a test file; `upstream` can be used within its tests only.
 */
function createStage(
  create: (outbound: Outbound) => Provider,
  fixed: Partial<CredentialBundle>,
  usual?: () => Answer,
) {
  let running: TestProvider
  let outbound: Outbound
  beforeAll(async () => {
    running = await startProvider()
    outbound = createLocalOutbound()
  })
  beforeEach(() => {
    running.ledger.length = 0
    if (usual) running.answer(usual)
    poisonEnvironment()
  })
  afterEach(() => void vi.unstubAllEnvs())
  afterAll(async () => {
    await outbound.close()
    await running.close()
  })
  const upstream: Pick<TestProvider, 'answer' | 'ledger' | 'url'> = {
    answer: (script) => running.answer(script),
    get ledger() {
      return running.ledger
    },
    get url() {
      return running.url
    },
  }
  const bundle = (changes = {}) => ({ ...fixed, api_base: upstream.url, ...changes })
  const ask = (body: Record<string, unknown>, changes = {}, rest: Partial<ProviderCall> = {}) =>
    create(outbound).call(callOf(bundle(changes), { model: 'group', ...body }, rest))
  return { upstream, bundle, ask }
}

/** A stage for Anthropic's family, with `usual` as its upstream's answer; without it, each test gives its own. */
export const anthropicStage = (usual?: () => Answer) =>
  createStage(
    createAnthropic,
    { provider: 'anthropic', model: 'claude-sonnet-4-5', api_key: 'sk-ant-test-key' },
    usual,
  )

/** https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse */
export const GEMINI_ANSWER = {
  candidates: [{ content: { role: 'model', parts: [{ text: 'Hello' }] }, finishReason: 'STOP', index: 0 }],
  usageMetadata: {
    promptTokenCount: 20,
    candidatesTokenCount: 4,
    thoughtsTokenCount: 6,
    cachedContentTokenCount: 12,
    totalTokenCount: 30,
  },
  modelVersion: 'gemini-2.5-flash',
  responseId: 'resp-1',
}

/** Usually answers with `GEMINI_ANSWER`. */
export const geminiStage = () =>
  createStage(
    createGemini,
    { provider: 'gemini', model: 'gemini-2.5-flash', api_key: 'AIza-test-key' },
    () => ({ kind: 'reply', status: 200, body: GEMINI_ANSWER }),
  )

/** https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax */
export const converseAnswer = (content: object[], stopReason = 'end_turn') => ({
  metrics: { latencyMs: 551 },
  output: { message: { role: 'assistant', content } },
  stopReason,
  usage: {
    inputTokens: 10,
    outputTokens: 9,
    totalTokens: 49,
    cacheReadInputTokens: 25,
    cacheWriteInputTokens: 5,
  },
})
/** The headers of such an answer: an id as Amazon names it, none under the name of others. */
export const AMAZON_ID = { 'x-amzn-requestid': 'amzn-1', 'x-request-id': '' }
export const BEDROCK_MODEL = 'anthropic.claude-sonnet-4-5-20250929-v1:0'
export const BEDROCK_REGION = { aws_region_name: 'eu-west-1' }

/** Usually answers with a `converseAnswer` that says Hello. */
export const bedrockStage = () =>
  createStage(
    createBedrock,
    { provider: 'bedrock', model: BEDROCK_MODEL, api_key: 'bedrock-api-key-test', auth: BEDROCK_REGION },
    () => ({ kind: 'reply', status: 200, body: converseAnswer([{ text: 'Hello' }]), headers: AMAZON_ID }),
  )

/** A message of the user. */
export const user = (content: unknown) => ({ role: 'user', content })

/** The input of `TOOL`. */
export const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
/** A function as chat requests name it. */
export const TOOL = {
  type: 'function',
  function: { name: 'get_weather', description: 'Weather', parameters: SCHEMA },
}
