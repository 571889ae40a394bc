import { z } from 'zod'

/**
 * One deployment of a plan: everything the router needs and nothing secret. Its credential bundle lies sealed
 * beside the plan (client-owned) or in the worker's own `config.yaml` (operator-owned).
 */
export const PlanDeployment = z.object({
  /** Keyed HMAC over owner, provider, base, region, model and credential: where its cooldown and usage live. */
  id: z.string(),
  /** The same without the model: carries the pause that a 429 puts on a key. */
  key_id: z.string(),
  /**
   * Under which id a worker finds the operator's bundle in its own `config.yaml`; only `shared/deployments.ts` reads
   * it. Absent when nothing of the operator's is used.
   */
  operator_id: z.string().optional(),
  /** The `model_name` it stands under; what `attempts[].model_group` shows. */
  group: z.string(),
  /** What `attempts[].deployment` shows: the concrete `provider/model`, never a base or a key. */
  name: z.string(),
  provider: z.string(),
  model: z.string(),
  weight: z.number().nullable(),
  rpm: z.number().nullable(),
  tpm: z.number().nullable(),
  num_retries: z.number().nullable(),
  /** Per attempt, in seconds. */
  timeout_s: z.number().nullable(),
  cooldown_time_s: z.number().nullable(),
  allowed_fails: z.number().nullable(),
})
export type PlanDeployment = z.infer<typeof PlanDeployment>

/** A config resolved once, in the API: plain data, no sockets, no secrets. Workers read plans and make none. */
export const Plan = z.object({
  source: z.enum(['user_config', 'client_credentials', 'operator']),
  /** Names the owner's slot of deployment state: an opaque keyed HMAC of tenant and customer, or `operator`. */
  owner_id: z.string(),
  /** The model group the request starts with. */
  group: z.string(),
  deployments: z.array(PlanDeployment),
  /** Model group -> fallback groups in order. `*` holds `default_fallbacks`. Exact keys only, all groups exist. */
  fallbacks: z.record(z.string(), z.array(z.string())),
  max_fallbacks: z.number(),
  /** From the request; wins over a deployment's own. */
  request_num_retries: z.number().nullable(),
  /** From the config, or LiteLLM's default of 2. */
  num_retries: z.number(),
  /** Smallest back-off between retries, in seconds. */
  retry_after_s: z.number(),
  /** Per attempt, in seconds, unless the deployment has its own. */
  timeout_s: z.number(),
  /**
   * The request set the timeout on the operator's deployments: one that passes is then the client's own doing and
   * cools nobody's deployment. Absent otherwise.
   */
  is_timeout_clients: z.boolean().optional(),
  /** Explicit value only: null means LiteLLM's ratio rule. */
  allowed_fails: z.number().nullable(),
  cooldown_time_s: z.number(),
  disable_cooldowns: z.boolean(),
  max_attempts: z.number(),
})
export type Plan = z.infer<typeof Plan>

/**
 * What one deployment is called with. One bundle: a key is only ever used with the base and provider it came with.
 * Sealed in Redis for client-owned deployments; in memory only for the operator's.
 */
export const CredentialBundle = z.object({
  provider: z.string(),
  /** Concrete model sent upstream. */
  model: z.string(),
  /** Absolute, without a trailing slash; the provider's default base is filled in. Null only for `mock_response`. */
  api_base: z.string().nullable(),
  /** The base is the operator's own (from config.yaml): the outbound guard takes it as an exact trusted origin. */
  trusted_base: z.boolean(),
  api_key: z.string().nullable(),
  api_version: z.string().nullable(),
  organization: z.string().nullable(),
  azure_ad_token: z.string().nullable(),
  /** `extra_headers` of the deployment, already checked for forbidden names. */
  headers: z.record(z.string(), z.string()),
  /** Body defaults of the deployment (`temperature`, `extra_body`, ...); the request's own fields win. */
  params: z.record(z.string(), z.unknown()),
  /** LiteLLM's canned answer: no provider is called. */
  mock_response: z.unknown().optional(),
})
export type CredentialBundle = z.infer<typeof CredentialBundle>
