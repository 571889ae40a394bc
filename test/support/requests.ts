/** A `user_config` of one deployment at a test provider: the end user's own key and base. */
export function ownConfig(
  deployment: { url: string; key: string; group?: string; model?: string } & Record<string, unknown>,
  settings: Record<string, unknown> = {},
) {
  const { url, key, group = 'mine', model = 'openai/gpt-test', ...params } = deployment
  return {
    model_list: [
      { model_name: group, litellm_params: { model, api_key: key, api_base: `${url}/v1`, ...params } },
    ],
    ...settings,
  }
}

/** A completion body that asks `group` of that config. */
export function ask(userConfig: object, content = 'Say this is a test', group = 'mine') {
  return { model: group, messages: [{ role: 'user', content }], user_config: userConfig }
}
