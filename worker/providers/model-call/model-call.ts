import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4Content,
  LanguageModelV4FinishReason,
  LanguageModelV4Usage,
} from '@ai-sdk/provider'
import type { AnswerHeaders } from '../../header-time.ts'
import type { Outbound } from '../../outbound.ts'
import { isFiltered } from '../answers.ts'
import { invalidAnswer } from '../classify.ts'
import { buildBody, readRequestId, type CallLimits } from '../openai-call.ts'
import type { CallOutcome, ProviderCall, StreamSink } from '../provider.ts'
import { parseRestMs, pickHeaders } from '../rate-headers.ts'
import { createRedact, type Redact } from '../redact.ts'
import { readUsage } from '../usage.ts'
import { toCallOptions } from './call-options.ts'
import { createChunkWriter } from './chunks.ts'
import { createCollector } from './collect.ts'
import { answerHead, clientCalls, finishReason, toCompletion, type AnswerHead } from './completion.ts'
import { classifyCut, classifyThrown, classifyTold, isUnknownEvent } from './failure.ts'
import type { ModelTarget } from './family.ts'
import { isObject } from '../error-body.ts'
import { createMediaLoader } from './media.ts'
import { createModelFetch, type ModelFetch } from './model-fetch.ts'
import { toPrompt } from './prompt.ts'
import { createWarnings, type Warnings } from './warnings.ts'

/** Everything one call is made of, once it is known. */
type Run = {
  call: ProviderCall
  body: Record<string, unknown>
  sent: ModelFetch
  redact: Redact
  warnings: Warnings
}

/** An answer, whole. */
type Answered = {
  content: readonly LanguageModelV4Content[]
  finish: LanguageModelV4FinishReason
  usage: LanguageModelV4Usage
}

/**
 * One chat completion by way of a provider's package: OpenAI's request is put into the package's words, the package talks to
 * the provider through our door, and what it makes of the answer is told as OpenAI's completion or chunks.
 */
export async function callModel(
  outbound: Outbound,
  call: ProviderCall,
  target: ModelTarget,
  limits: CallLimits,
): Promise<CallOutcome> {
  const startedAt = performance.now()
  const body = buildBody(call)
  const stop = new AbortController()
  const signal = AbortSignal.any([call.signal, stop.signal])
  const { credential, family } = target
  const sent = createModelFetch(outbound, call, { limits, credential, signal, startedAt })
  const isSilent = call.drop?.unsupported === true || call.bundle.drop?.unsupported === true
  const run: Run = {
    call,
    body,
    sent,
    redact: redactOf(call, target),
    warnings: createWarnings(family.title, isSilent),
  }
  try {
    const load = createMediaLoader(outbound, call, { urlType: family.urlType, startedAt })
    const prompt = await toPrompt(body, { load, warnings: run.warnings })
    const options = {
      ...toCallOptions(body, prompt, { family, warnings: run.warnings }),
      headers: extraHeaders(call),
    }
    const model = target.model(sent.fetch)
    return call.sink ? await stream(run, call.sink, model, options) : await generate(run, model, options)
  } catch (error) {
    return { kind: 'error', error: classifyThrown(error, sent, run.redact), partial: null }
  } finally {
    // A stream that was left at an error must not run on.
    stop.abort()
  }
}

/** The bundle's secrets, and those that were made of them. */
function redactOf({ bundle }: ProviderCall, { secrets }: ModelTarget): Redact {
  const more = Object.fromEntries(secrets.map((secret, index) => [`secret-${index}`, secret]))
  return createRedact({ ...bundle, headers: { ...bundle.headers, ...more } })
}

/** Headers that could carry a credential, or frame the body: a deployment's own never replace them. */
const KEPT_HEADERS = /^(?:authorization|x-api-key|x-goog-api-key|api-key|content-type|x-amz-.*|user-agent)$/

/** A deployment's own headers, which the packages send along and put together with theirs. */
function extraHeaders({ bundle }: ProviderCall): Record<string, string> {
  const lowered = Object.entries(bundle.headers).map(([name, value]) => [name.toLowerCase(), value] as const)
  return Object.fromEntries(lowered.filter(([name]) => !KEPT_HEADERS.test(name)))
}

async function generate(
  run: Run,
  model: LanguageModelV4,
  options: LanguageModelV4CallOptions,
): Promise<CallOutcome> {
  const { content, finishReason: finish, usage, response, warnings } = await model.doGenerate(options)
  run.warnings.addAll(warnings)
  const head = answerHead(response?.id, run.call.bundle.model, run.body)
  return conclude(run, head, { content, finish, usage })
}

async function stream(
  run: Run,
  sink: StreamSink,
  model: LanguageModelV4,
  options: LanguageModelV4CallOptions,
): Promise<CallOutcome> {
  const { stream: parts } = await model.doStream(options)
  const collected = createCollector()
  let id: string | undefined
  let head: AnswerHead | null = null
  let end: { finish: LanguageModelV4FinishReason; usage: LanguageModelV4Usage } | null = null
  const headOf = () => (head ??= answerHead(id, run.call.bundle.model, run.body))
  const chunks = createChunkWriter(sink, headOf, { includesUsage: includesUsage(run.body), collected })
  const failed = (error: Extract<CallOutcome, { kind: 'error' }>['error']): CallOutcome => {
    const finish = { unified: 'other', raw: 'cut' } as const
    const partial = chunks.hasBegun()
      ? Buffer.from(
          JSON.stringify(wholeOf(headOf(), { content: collected.content(), finish, usage: NO_USAGE }, null)),
        )
      : null
    return {
      kind: 'error',
      error: { ...error, isPossiblyBilled: error.isPossiblyBilled || partial !== null },
      partial,
    }
  }
  try {
    for await (const part of parts) {
      if (part.type === 'error' && isUnknownEvent(part.error)) continue
      if (part.type === 'error') return failed(toldError(run, part.error))
      if (part.type === 'stream-start') run.warnings.addAll(part.warnings)
      else if (part.type === 'response-metadata') id ??= part.id
      else if (part.type === 'finish') end = { finish: part.finishReason, usage: part.usage }
      collected.add(part)
      chunks.add(part)
    }
  } catch (error) {
    return failed(classifyThrown(error, run.sent, run.redact))
  }
  if (!end) return failed(classifyCut(run.sent, run.redact))
  const answered = { content: collected.content(), ...end }
  const outcome = conclude(run, headOf(), answered)
  if (outcome.kind === 'error') return failed(outcome.error)
  chunks.finish(reasonOf(headOf(), answered) ?? 'stop', answered.usage)
  return outcome
}

const NO_USAGE: LanguageModelV4Usage = {
  inputTokens: { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined },
}

function toldError({ sent, redact }: Run, told: unknown) {
  const head = sent.head()
  // What broke on the wire says more than what the package makes of it.
  if (sent.failure() !== null || !head) return classifyThrown(told, sent, redact)
  return classifyTold(told, head, redact)
}

function includesUsage({ stream_options: options }: Record<string, unknown>): boolean {
  return isObject(options) && options['include_usage'] === true
}

function reasonOf(head: AnswerHead, { content, finish }: Answered): string | null {
  return finishReason(finish, clientCalls(content).length > 0, head.isLegacy)
}

function wholeOf(head: AnswerHead, { content, usage }: Answered, reason: string | null) {
  return toCompletion(head, content, { reason, usage })
}

/** A whole answer as a reply; one that did not end as an answer does is none. */
function conclude(run: Run, head: AnswerHead, answered: Answered): CallOutcome {
  const { sent, redact, warnings } = run
  const { status, headers } = sent.head() ?? { status: 200, headers: {} }
  const reason = reasonOf(head, answered)
  if (reason === null) {
    const { unified, raw } = answered.finish
    const broken = unified === 'error' && raw !== undefined
    const why = `with an answer that it broke off (${redact(raw ?? '').slice(0, 40)})`
    return { kind: 'error', error: broken ? invalidAnswer(status, why) : classifyCut(sent, redact) }
  }
  const completion = wholeOf(head, answered, reason)
  const all = warnings.all()
  const reply = {
    status,
    body: Buffer.from(JSON.stringify(completion)),
    requestId: readRequestId(headers, redact) ?? readRequestId(amazonId(headers), redact),
    usage: readUsage(completion),
    isFiltered: isFiltered(completion),
    headers: pickHeaders(headers, redact),
    restMs: parseRestMs(headers, Date.now()),
    ...(all.length > 0 ? { warnings: all } : {}),
  }
  return { kind: 'reply', reply }
}

/** Amazon's header for what others call `x-request-id`. */
function amazonId(headers: AnswerHeaders): AnswerHeaders {
  return { 'x-request-id': headers['x-amzn-requestid'] }
}
