import { expect, test } from 'vitest'
import { createEgressPolicy } from '../../shared/egress.ts'
import { createOutbound } from '../../worker/outbound.ts'
import { createGemini } from '../../worker/providers/gemini.ts'
import { startProvider, type Answer } from '../support/provider.ts'
import { GEMINI_ANSWER, geminiStage, SCHEMA, TOOL, user } from './family-stage.ts'
import { PIXEL } from './model-calls.ts'
import { callOf } from './provider-calls.ts'

const { upstream, bundle, ask } = geminiStage()
const response = (id: string, content: string) => ({
  functionResponse: { id, name: 'get_weather', response: { name: 'get_weather', content } },
})

test('a request is put into its words whole, and nothing of it is left out', async () => {
  const outcome = await ask({
    messages: [
      { role: 'system', content: 'Be brief.' },
      user([
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url: `data:image/*;base64,${PIXEL}` } },
        { type: 'input_audio', input_audio: { data: 'UklGRiQAAABXQVZF', format: 'wav' } },
        { type: 'file', file: { file_data: 'JVBERi0xLjQK' } },
        { type: 'file', file: { file_id: 'https://youtu.be/9hE5-98ZeCg' } },
      ]),
      {
        role: 'assistant',
        content: null,
        tool_calls: [
          {
            id: 'c1',
            type: 'function',
            function: { name: 'get_weather', arguments: '{"city":"Paris"}' },
            provider_specific_fields: { thought_signature: 'sig-1' },
          },
          { id: 'c2', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
      { role: 'tool', tool_call_id: 'c2', content: 'rain' },
    ],
    max_tokens: 300,
    temperature: 1.5,
    top_p: 0.9,
    top_k: 3,
    seed: 7,
    stop: ['END', 'STOP'],
    tools: [TOOL],
    tool_choice: 'required',
    thinking: { type: 'enabled', budget_tokens: 512 },
    safety_settings: [{ category: 'HARM_CATEGORY_HARASSMENT', threshold: 'BLOCK_NONE' }],
  })
  expect(outcome).toMatchObject({ kind: 'reply' })
  expect(outcome).not.toHaveProperty('reply.warnings')
  const [sent] = upstream.ledger
  expect(sent?.path).toBe('/v1beta/models/gemini-2.5-flash:generateContent')
  expect(sent?.headers).toMatchObject({ 'x-goog-api-key': 'AIza-test-key', 'user-agent': 'byok-gateway' })
  expect(sent?.body).toEqual({
    systemInstruction: { parts: [{ text: 'Be brief.' }] },
    contents: [
      {
        role: 'user',
        parts: [
          { text: 'What is this?' },
          { inlineData: { mimeType: 'image/png', data: PIXEL } },
          { inlineData: { mimeType: 'audio/wav', data: 'UklGRiQAAABXQVZF' } },
          { inlineData: { mimeType: 'application/pdf', data: 'JVBERi0xLjQK' } },
          { fileData: { mimeType: 'video/mp4', fileUri: 'https://youtu.be/9hE5-98ZeCg' } },
        ],
      },
      {
        role: 'model',
        parts: [
          {
            functionCall: { id: 'c1', name: 'get_weather', args: { city: 'Paris' } },
            thoughtSignature: 'sig-1',
          },
          { functionCall: { id: 'c2', name: 'get_weather', args: { city: 'Rome' } } },
        ],
      },
      { role: 'user', parts: [response('c1', 'sunny'), response('c2', 'rain')] },
    ],
    generationConfig: {
      maxOutputTokens: 300,
      temperature: 1.5,
      topP: 0.9,
      topK: 3,
      seed: 7,
      stopSequences: ['END', 'STOP'],
      thinkingConfig: { includeThoughts: true, thinkingBudget: 512 },
    },
    tools: [
      {
        functionDeclarations: [{ name: 'get_weather', description: 'Weather', parametersJsonSchema: SCHEMA }],
      },
    ],
    toolConfig: { functionCallingConfig: { mode: 'ANY' } },
    safetySettings: [{ category: 'HARM_CATEGORY_HARASSMENT', threshold: 'BLOCK_NONE' }],
  })
})

test.each([
  [
    'gemini-2.5-flash',
    { reasoning_effort: 'low' },
    { thinkingConfig: { includeThoughts: true, thinkingBudget: 1_024 } },
  ],
  ['gemini-2.5-flash', { reasoning_effort: 'none' }, { thinkingConfig: { thinkingBudget: 0 } }],
  [
    'gemini-3-pro-preview',
    { reasoning_effort: 'high' },
    { thinkingConfig: { includeThoughts: true, thinkingLevel: 'high' } },
  ],
  [
    'gemini-2.5-flash',
    { response_format: { type: 'json_schema', json_schema: { name: 'a', schema: SCHEMA } } },
    { responseMimeType: 'application/json', responseJsonSchema: SCHEMA },
  ],
  [
    'gemini-2.5-flash',
    { response_format: { type: 'json_object' } },
    { responseMimeType: 'application/json' },
  ],
  ['gemini-2.5-flash-image', { modalities: ['text', 'image'] }, { responseModalities: ['TEXT', 'IMAGE'] }],
  ['gemini-2.5-flash', { max_completion_tokens: 5, modalities: ['text'] }, { maxOutputTokens: 5 }],
])('thinking, schemas and limits of %s with %j', async (model, fields, generationConfig) => {
  await ask({ messages: [user('Hi')], ...fields }, { model })
  expect(upstream.ledger[0]?.body['generationConfig']).toEqual(generationConfig)
})

test.each([
  ['auto', { mode: 'AUTO' }],
  ['none', { mode: 'NONE' }],
  [
    { type: 'function', function: { name: 'get_weather' } },
    { mode: 'ANY', allowedFunctionNames: ['get_weather'] },
  ],
])('a tool choice of %j', async (tool_choice, functionCallingConfig) => {
  await ask({ messages: [user('Hi')], tools: [TOOL], tool_choice })
  expect(upstream.ledger[0]?.body['toolConfig']).toEqual({ functionCallingConfig })
})

const see = (url: string) => ask({ messages: [user([{ type: 'image_url', image_url: { url } }])] })

test('an image by its address is fetched through the guarded door and sent along', async () => {
  const image = Buffer.from(PIXEL, 'base64').toString('latin1')
  const files = await startProvider()
  const types = { 'content-type': 'image/gif' }
  files.answer(({ path }): Answer => {
    if (path === '/moved') return { kind: 'reply', status: 302, body: '', headers: { location: '/cat' } }
    return { kind: 'reply', status: path === '/none' ? 404 : 200, body: image, headers: types }
  })
  expect(await see(`${files.url}/moved`)).toMatchObject({ kind: 'reply' })
  const [content] = upstream.ledger.map(({ body }) => JSON.stringify(body['contents']))
  expect(content).toContain('"inlineData":{"mimeType":"image/gif"')
  expect(files.ledger.map(({ method, path, headers }) => [method, path, headers['x-goog-api-key']])).toEqual([
    ['GET', '/moved', undefined],
    ['GET', '/cat', undefined],
  ])
  for (const url of [
    `${files.url}/none`,
    'https://10.0.0.1/canary',
    'http://169.254.169.254/canary',
    'http://127.0.0.1:1/canary',
  ]) {
    const outcome = await see(url)
    expect(outcome).toMatchObject({
      error: {
        class: 'bad_request',
        code: 'invalid_image_url',
        param: 'messages[0].content[0]',
        isPossiblyBilled: false,
      },
    })
    expect(JSON.stringify(outcome)).not.toContain('canary')
  }
  expect(upstream.ledger).toHaveLength(1)
  await files.close()
})

test('only its own key is ever sent, and nothing without one or to a model whose name leads elsewhere', async () => {
  const headers = { 'X-Goog-Api-Key': 'canary', Authorization: 'Bearer canary', 'X-Title': 'mine' }
  await ask({ messages: [user('Hi')] }, { headers })
  expect(upstream.ledger[0]?.headers).toMatchObject({ 'x-goog-api-key': 'AIza-test-key', 'x-title': 'mine' })
  expect(JSON.stringify(upstream.ledger)).not.toContain('canary')
  for (const changes of [
    { api_key: null },
    { api_key: '' },
    { model: '../../v1/x' },
    { model: 'x?key=1' },
    { model: 'x#' },
  ]) {
    expect(await ask({ messages: [user('Hi')] }, changes)).toMatchObject({ error: { class: 'bad_request' } })
  }
  expect(upstream.ledger).toHaveLength(1)
})

test('a request names at most a hundred files that are fetched, and redirects count by their bytes', async () => {
  const files = await startProvider()
  const content = Array.from({ length: 101 }, (_, index) => ({
    type: 'image_url',
    image_url: { url: `${files.url}/${index}.png` },
  }))
  const image = Buffer.from(PIXEL, 'base64')
  files.answer(() => ({ kind: 'reply', status: 200, body: image }))
  const refused = { error: { class: 'bad_request', code: 'invalid_image_url' } }
  expect(await ask({ messages: [user(content)] })).toMatchObject(refused)
  expect(files.ledger).toHaveLength(100)
  const headers = { location: '/again' }
  files.answer(() => ({ kind: 'reply', status: 302, body: Buffer.alloc(16 * 1024 * 1024), headers }))
  expect(await see(`${files.url}/large`)).toMatchObject(refused)
  expect(files.ledger).toHaveLength(102)
  expect(upstream.ledger).toHaveLength(0)
  await files.close()
})

test('the base of an operator may lead anywhere, a file that a prompt names may not', async () => {
  const closed = createOutbound({ policy: createEgressPolicy({ allowedCidrs: [] }) })
  const send = (content: unknown) => {
    const call = callOf(bundle({ trusted_base: true }), { model: 'group', messages: [user(content)] })
    return createGemini(closed).call(call)
  }
  expect(await send('Hi')).toMatchObject({ kind: 'reply' })
  const image = { type: 'image_url', image_url: { url: `${upstream.url}/secret.png` } }
  expect(await send([image])).toMatchObject({ error: { class: 'bad_request', code: 'invalid_image_url' } })
  expect(upstream.ledger).toHaveLength(1)
  await closed.close()
})

test('a call is one request: neither a redirect nor a wish to go on leads to another', async () => {
  const elsewhere = await startProvider()
  upstream.answer(() => ({ kind: 'reply', status: 307, body: '', headers: { location: elsewhere.url } }))
  expect(await ask({ messages: [user('Hi')] })).toMatchObject({
    error: { class: 'api_error', code: 'redirect_refused' },
  })
  const content = { role: 'model', parts: [{ text: 'Hel' }] }
  const candidates = [{ content, finishReason: 'CONTINUATION', continuationToken: 'more' }]
  upstream.answer(() => ({ kind: 'reply', status: 200, body: { ...GEMINI_ANSWER, candidates } }))
  expect(await ask({ messages: [user('Hi')] })).toMatchObject({
    kind: 'error',
    error: { class: 'response_invalid' },
  })
  expect(upstream.ledger).toHaveLength(2)
  expect(elsewhere.ledger).toEqual([])
  await elsewhere.close()
})
