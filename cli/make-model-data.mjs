// Makes shared/routing/model-data.json of the model catalog it is vendored from, for its next update:
//   npm pack @oh-my-pi/pi-catalog@18.2.11 && tar xzf oh-my-pi-pi-catalog-18.2.11.tgz
//   node cli/make-model-data.mjs package/src/models.json
// What is taken, what is left out and why: docs/decisions/0014-price-table.md.
import { readFileSync, writeFileSync } from 'node:fs'

/** LiteLLM's name of a provider, and the catalog's. */
const PROVIDERS = {
  openai: 'openai',
  anthropic: 'anthropic',
  bedrock: 'amazon-bedrock',
  cerebras: 'cerebras',
  deepinfra: 'deepinfra',
  deepseek: 'deepseek',
  fireworks_ai: 'fireworks',
  gemini: 'google',
  groq: 'groq',
  mistral: 'mistral',
  moonshot: 'moonshot',
  novita: 'novita',
  openrouter: 'openrouter',
  together_ai: 'together',
  vertex_ai: 'google-vertex',
  xai: 'xai',
}

/** OpenAI's own models that the catalog has only where OpenRouter sells them, at OpenAI's price. */
const FROM_OPENROUTER = ['gpt-3.5-turbo', 'gpt-3.5-turbo-16k', 'gpt-4-1106-preview', 'gpt-4-turbo-preview']

// Not for chat, or billed by more than text tokens.
const OTHER_KINDS =
  /embed|e5-|rerank|whisper|tts|image|audio|transcri|realtime|sora|imagine|flux|live|ocr|guard|safety|vox|voxtral|robotics|computer-use|deep-research|compound/i

// OpenRouter's price of an open model is that of the host it picks for a call; these have one price.
const FIXED_ON_OPENROUTER = /^(anthropic|google\/gemini|openai\/(?!gpt-oss)|x-ai)|:free$/

// Prices that contradict the catalog itself, or what the provider is known to have asked: these are left out.
const DOUBTED = new Set([
  'bedrock/mistral.mistral-large-2402-v1:0',
  'fireworks_ai/gpt-oss-120b',
  'gemini/gemini-2.5-flash-preview-04-17',
  'gemini/gemini-2.5-flash-preview-05-20',
  'openrouter/anthropic/claude-3.5-sonnet',
  'openrouter/openai/gpt-5.6-sol',
  'openrouter/openai/gpt-5.6-sol-pro',
])

// Above so many input tokens other prices hold, which the catalog does not tell of these models.
const LONG_INPUTS = [
  [/^claude-sonnet-4(-0|-5|\.5)?([@-]\d{8})?$/, 200_000],
  [/^gemini-1\.5-/, 128_000],
  [/^gemini-(2\.5|3|3\.1)-pro/, 200_000],
  [/^gpt-(5\.[4-9]|[6-9])(?!.*-(mini|nano))/, 272_000],
  [/^grok-4(-0709|-fast.*|[-.]1-fast.*)?$/, 128_000],
  [/^grok-4\.\d/, 199_999],
]

const [file] = process.argv.slice(2)
if (file === undefined) throw new Error('Usage: node cli/make-model-data.mjs MODELS_JSON')
const catalog = JSON.parse(readFileSync(file, 'utf8'))

const models = {}
for (const [name, source] of Object.entries(PROVIDERS)) {
  const found = Object.values(catalog[source]).map((model) => [wireId(name, model.id), rowOf(name, model)])
  models[name] = Object.fromEntries(found.filter(([, row]) => row !== null).toSorted(byId))
}
for (const id of FROM_OPENROUTER) models.openai[id] ??= models.openrouter[`openai/${id}`]
const about =
  'provider -> model -> [window in tokens, USD per million tokens of input, of output, of cached input, input tokens up to which these prices hold]. Made by cli/make-model-data.mjs of @oh-my-pi/pi-catalog 18.2.11 (2026-09-23); see model-data-notice.txt.'
const lines = Object.entries(models).map(
  ([name, rows]) =>
    `    ${JSON.stringify(name)}: {\n${Object.entries(rows)
      .map(([id, row]) => `      ${JSON.stringify(id)}: ${JSON.stringify(row).replaceAll(',', ', ')}`)
      .join(',\n')}\n    }`,
)
const json = `{\n  "about": ${JSON.stringify(about)},\n  "models": {\n${lines.join(',\n')}\n  }\n}\n`
writeFileSync(new URL('../shared/routing/model-data.json', import.meta.url), json)

/** `[window, input, output, cached input, longest input]` without what is unknown at its end; null: nothing is known. */
function rowOf(provider, { id, contextWindow, requestModelId, cost }) {
  // An id that the provider itself does not know.
  if (requestModelId !== undefined || OTHER_KINDS.test(id) || id.endsWith(':batch')) return null
  if (provider === 'openrouter' && !FIXED_ON_OPENROUTER.test(id)) return null
  const row = [
    contextWindow ?? null,
    ...(isPriced(provider, id, cost) ? pricesOf(id, contextWindow, cost) : []),
  ]
  while (row.at(-1) === null) row.pop()
  return row.length > 0 ? row : null
}

/** A price of 0 is one that nobody noted; prices by the time of day are not one price. */
function isPriced(provider, id, { input, output, timeBased }) {
  if (timeBased || DOUBTED.has(`${provider}/${id}`)) return false
  return id.endsWith(':free') || (input > 0 && output > 0)
}

function pricesOf(id, contextWindow, { input, output, cacheRead, longContext }) {
  const bare = id
    .slice(id.lastIndexOf('/') + 1)
    .replace(/^([a-z-]+\.)+/, '')
    .replace(/-v\d+:\d+$/, '')
  const known = LONG_INPUTS.find(([pattern]) => pattern.test(bare))?.[1]
  const told = longContext && longContext.inputThreshold - (longContext.inputThresholdInclusive ? 1 : 0)
  const inputMax = told ?? known ?? null
  const isReached = inputMax !== null && inputMax < (contextWindow ?? Infinity)
  return [usd(input), usd(output), cacheRead > 0 ? usd(cacheRead) : null, isReached ? inputMax : null]
}

// The catalog's own arithmetic left 0.39999999999999997.
function usd(perMillion) {
  return Number(perMillion.toPrecision(6))
}

/** Fireworks' ids are full paths in which `2.5` is `2p5`, and its fast ones are routers. */
function wireId(provider, id) {
  if (provider !== 'fireworks_ai') return id
  const kind = id.endsWith('-fast') ? 'routers' : 'models'
  return `accounts/fireworks/${kind}/${id.replaceAll(/(?<=\d)\.(?=\d)/g, 'p')}`
}

function byId([a], [b]) {
  return a < b ? -1 : 1
}
