import { z } from 'zod'
import { CountsByClass } from './error-class.ts'

/** USD per token, or per second of the call. What is not known is absent, and a cost that needs it is null. */
export const Prices = z.object({
  input: z.number().optional(),
  output: z.number().optional(),
  /** For input that the provider had in its cache; `input` where it is absent. */
  cached_input: z.number().optional(),
  per_second: z.number().optional(),
  /** Up to so many input tokens the prices above hold; the cost of a longer call is not known. */
  input_tokens_max: z.number().optional(),
})
export type Prices = z.infer<typeof Prices>

/** How the next deployment of a group is picked. `usage` is both of LiteLLM's usage-based strategies, with the meaning of v2. */
export const Strategy = z.object({
  name: z.enum(['shuffle', 'least_busy', 'usage', 'latency', 'cost']),
  /** Of `latency`: how long a sample counts. */
  ttl_s: z.number().optional(),
  /** Of `latency`: deployments within this part above the lowest are as good as it. */
  buffer: z.number().optional(),
  /** Of `latency`: how many samples are kept. */
  samples_max: z.number().optional(),
})
export type Strategy = z.infer<typeof Strategy>

/** Body parameters that are taken out before the call (`drop_params` and its kin). */
export const DroppedParams = z.object({
  /** Those that the deployment's provider is known not to take. */
  unsupported: z.boolean(),
  /** These in any case: `additional_drop_params`. */
  names: z.array(z.string()),
  /** Not these, although the provider is said not to take them: `allowed_openai_params`. */
  allowed: z.array(z.string()),
})
export type DroppedParams = z.infer<typeof DroppedParams>

/** Fallback targets by model group: exact keys only, all groups exist; `*` stands for every group without an entry. */
const FallbackTable = z.record(z.string(), z.array(z.string()))

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
   * Under which id a worker finds the operator's bundle in its own `config.yaml`; only `shared/settings/deployments.ts` reads
   * it. Absent when nothing of the operator's is used.
   */
  operator_id: z.string().optional(),
  /** The `model_name` it stands under; what `attempts[].model_group` shows. */
  group: z.string(),
  /** Whose it is, when not the plan's owner: a hop with credentials of its own. One for all deployments of a group. */
  owner_id: z.string().optional(),
  /** What `attempts[].deployment` shows: the concrete `provider/model`, never a base or a key. */
  name: z.string(),
  provider: z.string(),
  model: z.string(),
  weight: z.number().nullable(),
  rpm: z.number().nullable(),
  tpm: z.number().nullable(),
  /** Input and output tokens a window. */
  itpm: z.number().optional(),
  otpm: z.number().optional(),
  /** Calls in flight at once, over all workers: its own limit, else the config's default. */
  max_parallel: z.number().optional(),
  /** Lower first; deployments without it come last. A later tier is used when the earlier ones failed or are not free. */
  order: z.number().optional(),
  num_retries: z.number().nullable(),
  /** Per attempt, in seconds. */
  timeout_s: z.number().nullable(),
  /** The same for `stream: true`. */
  stream_timeout_s: z.number().optional(),
  cooldown_time_s: z.number().nullable(),
  allowed_fails: z.number().nullable(),
  /** Wins over `allowed_fails` for these classes; each is counted apart. */
  allowed_fails_policy: CountsByClass.optional(),
  /** Size of the model's context window in tokens, when known. */
  max_input_tokens: z.number().optional(),
  prices: Prices.optional(),
})
export type PlanDeployment = z.infer<typeof PlanDeployment>

/** How often a failure of each class is tried again; `default` for classes without an entry. */
const RetryPolicy = CountsByClass.and(z.object({ default: z.number().optional() }))
export type RetryPolicy = z.infer<typeof RetryPolicy>

/** A config resolved once, in the API: plain data, no sockets, no secrets. Workers read plans and make none. */
export const Plan = z.object({
  source: z.enum(['user_config', 'client_credentials', 'operator']),
  /** Names the owner's slot of deployment state: an opaque keyed HMAC of tenant and customer, or `operator`. */
  owner_id: z.string(),
  /** The model group the request starts with. */
  group: z.string(),
  deployments: z.array(PlanDeployment),
  /** For any failure but the two below; `*` holds `default_fallbacks`. */
  fallbacks: FallbackTable,
  /** For a prompt that does not fit. Present (even empty): such a failure is never retried and uses no other table. */
  context_window_fallbacks: FallbackTable.optional(),
  /** The same for a refusal of the content, be it an error or `finish_reason: content_filter`. */
  content_policy_fallbacks: FallbackTable.optional(),
  /** Groups made of a fallback that brings its own prompt: the only ones tried when a provider calls the request wrong. */
  rewriting_groups: z.array(z.string()).optional(),
  /** Names to show for groups whose name is made up: a fallback given as an object. */
  group_names: z.record(z.string(), z.string()).optional(),
  /** Hops in total, over the whole job. */
  max_fallbacks: z.number(),
  /** By model group, `*` for the others; absent: shuffle. */
  strategies: z.record(z.string(), Strategy).optional(),
  /** From the request; wins over a deployment's own. */
  request_num_retries: z.number().nullable(),
  /** From the config, or LiteLLM's default of 2. */
  num_retries: z.number(),
  /** By model group, `*` for the others; an entry for a class wins over every `num_retries`. `default` is DefaultRetries. */
  retry_policies: z.record(z.string(), RetryPolicy).optional(),
  /** Smallest back-off between retries, in seconds. */
  retry_after_s: z.number(),
  /** Per attempt, in seconds, unless the deployment has its own. */
  timeout_s: z.number(),
  /** The same for `stream: true`; `timeout_s` where it is absent. */
  stream_timeout_s: z.number().optional(),
  /**
   * The request set the timeout on the operator's deployments: one that passes is then the client's own doing and
   * cools nobody's deployment. Absent otherwise.
   */
  is_timeout_clients: z.boolean().optional(),
  /** Explicit value only: null means LiteLLM's ratio rule. */
  allowed_fails: z.number().nullable(),
  allowed_fails_policy: CountsByClass.optional(),
  cooldown_time_s: z.number(),
  disable_cooldowns: z.boolean(),
  /** `enable_pre_call_checks`: deployments that can't hold the prompt by our estimate are not called. */
  checks_context: z.boolean().optional(),
  /** From the request; beside each deployment's own. */
  drop: DroppedParams.optional(),
  /** Test switch: the first call is not made but fails like this; all others are real. */
  first_failure: z.enum(['fallbacks', 'context', 'content', 'rate_limit']).optional(),
  max_attempts: z.number(),
  /** No call is made before it is noted on the disk of Redis. */
  durability: z.literal('fsync').optional(),
  /** Of the job, unless that says its own. */
  priority: z.enum(['high', 'normal', 'low']).optional(),
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
  /** The credential is the operator's: said by the worker that finds it, never stored. */
  is_operators: z.literal(true).optional(),
  api_key: z.string().nullable(),
  api_version: z.string().nullable(),
  organization: z.string().nullable(),
  azure_ad_token: z.string().nullable(),
  /** What else its provider is called with, by LiteLLM's names: `aws_secret_access_key`, `vertex_location`, `tenant_id`, ... */
  auth: z.record(z.string(), z.string()).optional(),
  /** `extra_headers` of the deployment, already checked for forbidden names. */
  headers: z.record(z.string(), z.string()),
  /** Body defaults of the deployment (`temperature`, `extra_body`, ...); the request's own fields win. */
  params: z.record(z.string(), z.unknown()),
  /** Body fields that win over the request's own: of a fallback given as an object. */
  overrides: z.record(z.string(), z.unknown()).optional(),
  drop: DroppedParams.optional(),
  /** Test switches: no answer comes before the timeout; the canned answer comes after so many seconds. */
  mock_timeout: z.boolean().optional(),
  mock_delay_s: z.number().optional(),
  /** LiteLLM's canned answer: no provider is called. */
  mock_response: z.unknown().optional(),
})
export type CredentialBundle = z.infer<typeof CredentialBundle>
