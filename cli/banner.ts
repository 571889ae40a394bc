/** What the terminal is told once the gateway is ready. */
export type Welcome = {
  url: string
  /** Where the API's metrics are, then each worker's; empty: they are not shown. */
  metricsUrls: readonly string[]
  /** File with the keys made at the first start; null when they come from the environment or the operator's config. */
  keysFile: string | null
  /** The gateway key in plain: only at the first start, and only for a terminal. */
  newKey: string | null
}

const FIRST_REQUEST = {
  model: 'my-first-model',
  messages: [{ role: 'user', content: 'Hello!' }],
  user_config: {
    model_list: [
      {
        model_name: 'my-first-model',
        litellm_params: {
          model: 'openai/gpt-4o-mini',
          api_key: 'sk-not-needed-here',
          mock_response: 'Hello! Your gateway works.',
        },
      },
    ],
  },
}

/** The text printed at start: the address, the key or where it is, and a first request that needs no provider. */
export function formatWelcome({ url, metricsUrls, keysFile, newKey }: Welcome): string {
  const keyNote = newKey
    ? `Your gateway key, shown only this once (kept in ${keysFile}):`
    : keysFile
      ? `Your gateway key is in ${keysFile}; this reads it:`
      : 'Your gateway key is the one you set:'
  const keyLine = newKey ?? (keysFile ? `$(sed -n 's/^GATEWAY_MASTER_KEY=//p' ${quote(keysFile)})` : 'sk-...')
  const metrics = metricsUrls.length === 0 ? '' : `Metrics (API, then workers): ${metricsUrls.join('  ')}\n`
  return `
byok-gateway is ready: ${url}   (API reference: ${url}/docs)
${metrics}
${keyNote}
  export GATEWAY_KEY=${newKey ?? `"${keyLine}"`}

A first request, which needs no provider account:
  curl ${url}/v1/chat/completions \\
    -H "Authorization: Bearer $GATEWAY_KEY" -H 'Content-Type: application/json' \\
    -d '${JSON.stringify(FIRST_REQUEST)}'

`
}

/** A path as a shell takes it. */
export function quote(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`
}
