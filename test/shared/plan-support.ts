import { createEgressPolicy } from '../../shared/egress.ts'
import type { EndpointName } from '../../shared/jobs/endpoints.ts'
import { InvalidRequestError } from '../../shared/errors.ts'
import { createIds } from '../../shared/ids.ts'
import type { OperatorConfig } from '../../shared/settings/operator-config.ts'
import { readOperatorConfig } from '../../shared/settings/operator-config.ts'
import { resolvePlan } from '../../shared/plans/plan.ts'

export const ids = createIds('a secret of at least sixteen characters')
export const egress = createEgressPolicy({ allowedCidrs: [] })

/** An operator's config from plain data, as it would stand in config.yaml. */
export function operatorOf(config: Record<string, unknown> = {}, environment: Record<string, string> = {}) {
  return readOperatorConfig(config, environment)
}

/** Resolves a body for one tenant; `messages` are added. */
export function planOf(
  body: Record<string, unknown>,
  operator: OperatorConfig = operatorOf(),
  tenant = 'acme',
  endpoint: EndpointName = 'chat',
) {
  const full = { messages: [{ role: 'user', content: 'hi' }], ...body }
  return resolvePlan({ body: full, tenant, customer: null, endpoint }, { operator, ids, egress })
}

/** The refusal of a body: what a client would be told. */
export function refusalFor(
  body: Record<string, unknown>,
  operator?: OperatorConfig,
  endpoint: EndpointName = 'chat',
): InvalidRequestError {
  return refusalIn(() => planOf(body, operator, 'acme', endpoint))
}

/** The InvalidRequestError that a call throws; anything else fails the test. */
export function refusalIn(call: () => unknown): InvalidRequestError {
  try {
    call()
  } catch (error) {
    if (error instanceof InvalidRequestError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

/** The seed's `user_config`, with changes on top. */
export function seedConfig(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    model_list: [
      {
        model_name: 'user-azure-instance',
        litellm_params: {
          model: 'azure/chatgpt-v-2',
          api_key: 'azure-key',
          api_version: '2024-10-21',
          api_base: 'https://user.openai.azure.com/',
          timeout: 10,
        },
        tpm: 240_000,
        rpm: 1800,
      },
      {
        model_name: 'user-openai-instance',
        litellm_params: { model: 'gpt-3.5-turbo', api_key: 'openai-key', timeout: 10 },
        tpm: 240_000,
        rpm: 1800,
      },
    ],
    num_retries: 2,
    allowed_fails: 3,
    fallbacks: [{ 'user-azure-instance': ['user-openai-instance'] }],
    ...changes,
  }
}

/** A config of one deployment, with changes in its `litellm_params`. */
export function configWith(params: Record<string, unknown>, router: Record<string, unknown> = {}) {
  const litellmParams = { model: 'openai/gpt-4o', api_key: 'sk-own', ...params }
  return { model_list: [{ model_name: 'mine', litellm_params: litellmParams }], ...router }
}
