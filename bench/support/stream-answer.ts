/** How an upstream streams: its answer has this many chunks, this long apart. 0 = each in the next turn of its event loop. */
export type Pace = { chunks: number; intervalMs: number }

const WORDS = [
  'Roses',
  ' are',
  ' red',
  ',',
  ' violets',
  ' are',
  ' blue',
  '.',
  ' Straße',
  ' 東京',
  ' 🙂',
  '\n',
]

/**
 * The events of a streamed chat completion as OpenAI sends them, in all `chunks` of data and `[DONE]` behind them: the first
 * with the role, the last with the reason it ended. The same each time, so that whoever reads it can check each byte.
 */
export function streamedEvents(chunks: number): Buffer[] {
  const words = Array.from({ length: Math.max(0, chunks - 2) }, (_, index) =>
    chunk({ content: WORDS[index % WORDS.length] }, null),
  )
  return [
    chunk({ role: 'assistant', content: '', refusal: null }, null),
    ...words,
    chunk({}, 'stop'),
    Buffer.from('data: [DONE]\n\n'),
  ]
}

const FIXED = {
  id: 'chatcmpl-bench0123456789abcdef',
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'gpt-3.5-turbo-0125',
  service_tier: 'default',
  system_fingerprint: 'fp_bench01234',
}

function chunk(delta: object, finish: string | null): Buffer {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason: finish }]
  return Buffer.from(`data: ${JSON.stringify({ ...FIXED, choices })}\n\n`)
}
