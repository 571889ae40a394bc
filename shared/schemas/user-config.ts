import { z } from 'zod'
import { nameFault } from './model-name.ts'
import { CHAT_PARAMS, CONNECTION_FIELDS, LOCATION_FIELDS, PROVIDER_SECRETS } from './field-names.ts'

/** Most deployments one config may list, an organization list counted out. */
export const DEPLOYMENTS_MAX = 100

/** Most names in one list, of fallbacks or tags, and most entries in one list of lists. */
const NAMES_MAX = 100
/** Most names in all lists of `fallbacks` together: each is looked up among the wildcards. */
const FALLBACKS_MAX = 1000
/** Most aliases of one config. */
const ALIASES_MAX = 1000

const Name = z
  .string()
  .min(1, 'must not be empty')
  .max(256, 'must have at most 256 characters')
  .superRefine((name, context) => {
    const fault = nameFault(name)
    if (fault !== null) context.addIssue({ code: 'custom', message: fault })
  })
const NameList = z.array(Name).max(NAMES_MAX, `must name at most ${NAMES_MAX} names`)
/** Tags of a request, and the region its data may go to. */
export const RequestTags = NameList
export const RegionName = Name
const Count = z.int('must be a whole number').min(0, 'must not be negative')
const Limit = z.int('must be a whole number').min(1, 'must be at least 1, since 0 would let nothing through')
const Duration = z.number('must be a number of seconds').min(0, 'must not be negative')

/** Seconds as LiteLLM takes them: a number, or a number in quotes. */
export const Timeout = z.union(
  [z.number().positive(), z.string().regex(/^(?!0+(\.0*)?$)\d{1,9}(\.\d{1,9})?$/)],
  {
    error: 'must be a number of seconds above 0',
  },
)

/** `{ "group": ["other", ...] }`, one key an entry. */
const FallbackMap = z
  .record(Name, NameList.min(1, 'must name at least one model group'))
  .refine(
    (entry) => Object.keys(entry).length === 1,
    'must be an object with exactly one model group as its key',
  )

/** The map form of `fallbacks`, in a config or in a request. */
export const FallbackMaps = z
  .array(FallbackMap)
  .max(NAMES_MAX, `must have at most ${NAMES_MAX} entries`)
  .refine(
    (maps) => maps.flatMap((map) => Object.values(map).flat()).length <= FALLBACKS_MAX,
    `must name at most ${FALLBACKS_MAX} groups in all`,
  )

/** The two list forms a request may give: names, or objects that rewrite the request for each hop. */
export const FallbackList = z.union([NameList, z.array(z.looseObject({ model: Name })).max(NAMES_MAX)])

// A policy that was dumped whole has null for the classes that it says nothing of.
const RetryPolicy = z.strictObject({
  BadRequestErrorRetries: Count.nullish(),
  AuthenticationErrorRetries: Count.nullish(),
  TimeoutErrorRetries: Count.nullish(),
  RateLimitErrorRetries: Count.nullish(),
  ContentPolicyViolationErrorRetries: Count.nullish(),
  InternalServerErrorRetries: Count.nullish(),
  ServiceUnavailableErrorRetries: Count.nullish(),
  NotFoundErrorRetries: Count.nullish(),
  DefaultRetries: Count.nullish(),
})
export type RetryPolicyInput = z.infer<typeof RetryPolicy>

const AllowedFailsPolicy = z.strictObject({
  BadRequestErrorAllowedFails: Count.nullish(),
  AuthenticationErrorAllowedFails: Count.nullish(),
  TimeoutErrorAllowedFails: Count.nullish(),
  RateLimitErrorAllowedFails: Count.nullish(),
  ContentPolicyViolationErrorAllowedFails: Count.nullish(),
  InternalServerErrorAllowedFails: Count.nullish(),
  ServiceUnavailableErrorAllowedFails: Count.nullish(),
  BadGatewayErrorAllowedFails: Count.nullish(),
  NotFoundErrorAllowedFails: Count.nullish(),
})
export type AllowedFailsPolicyInput = z.infer<typeof AllowedFailsPolicy>

const STRATEGIES = [
  'simple-shuffle',
  'least-busy',
  'usage-based-routing',
  'usage-based-routing-v2',
  'latency-based-routing',
  'cost-based-routing',
] as const
export type StrategyName = (typeof STRATEGIES)[number]

const TOO_MANY_KEYS = `must have at most ${NAMES_MAX} keys`

function isShort(map: Record<string, unknown>): boolean {
  return Object.keys(map).length <= NAMES_MAX
}

function orAbsent<Value>(value: Value | null): Value | undefined {
  return value ?? undefined
}

const RoutingGroup = z.strictObject({
  group_name: Name,
  models: NameList,
  routing_strategy: z.enum([...STRATEGIES, 'priority']),
  routing_strategy_args: z.record(z.string(), z.unknown()).nullable().transform(orAbsent).optional(),
  model_priorities: z
    .record(Name, Limit)
    .refine(isShort, TOO_MANY_KEYS)
    .nullable()
    .transform(orAbsent)
    .optional(),
})
export type RoutingGroupInput = z.infer<typeof RoutingGroup>

/** LiteLLM types an alias as text or `{model, hidden}`; its `RouterConfig` as a list. */
const Alias = z.union(
  [Name, z.strictObject({ model: Name, hidden: z.boolean().optional() }), z.array(Name).length(1)],
  {
    error: 'must be a model group, or {"model": group, "hidden": boolean}',
  },
)

/** LiteLLM reads some switches from text. */
const Flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')], {
  error: 'must be true or false',
})

/** Which body parameters are taken out before a call; on a deployment or in a request. */
export const dropShape = {
  drop_params: Flag.optional(),
  additional_drop_params: NameList.optional(),
  allowed_openai_params: NameList.optional(),
}
/** The same as defaults of all deployments. */
export const DropDefaults = z.object({
  drop_params: dropShape.drop_params.nullable(),
  additional_drop_params: dropShape.additional_drop_params.nullable(),
  allowed_openai_params: dropShape.allowed_openai_params.nullable(),
})

/** Defaults of every deployment's `litellm_params`; which names may stand here is checked elsewhere. */
const DefaultParams = z.looseObject({
  timeout: Timeout.nullish(),
  request_timeout: Timeout.nullish(),
  stream_timeout: Timeout.nullish(),
  ...DropDefaults.shape,
  extra_body: z.record(z.string(), z.unknown()).nullish(),
})

/** What a config says beside its `model_list`; the same keys stand in an operator's `router_settings`. */
export const routerShape = {
  num_retries: Count.optional(),
  max_fallbacks: Count.optional(),
  timeout: Timeout.optional(),
  stream_timeout: Timeout.optional(),
  default_litellm_params: DefaultParams.optional(),
  default_max_parallel_requests: Limit.optional(),
  fallbacks: FallbackMaps.optional(),
  default_fallbacks: NameList.optional(),
  context_window_fallbacks: FallbackMaps.optional(),
  content_policy_fallbacks: FallbackMaps.optional(),
  model_group_alias: z
    .record(Name, Alias)
    .refine(
      (aliases) => Object.keys(aliases).length <= ALIASES_MAX,
      `must have at most ${ALIASES_MAX} aliases`,
    )
    .optional(),
  allowed_fails: Count.optional(),
  allowed_fails_policy: AllowedFailsPolicy.optional(),
  cooldown_time: Duration.optional(),
  disable_cooldowns: z.boolean().optional(),
  retry_after: Duration.optional(),
  retry_policy: RetryPolicy.optional(),
  model_group_retry_policy: z.record(Name, RetryPolicy).refine(isShort, TOO_MANY_KEYS).optional(),
  routing_strategy: z.enum(STRATEGIES).optional(),
  routing_strategy_args: z.record(z.string(), z.unknown()).optional(),
  routing_groups: z
    .array(RoutingGroup)
    .max(NAMES_MAX, `must have at most ${NAMES_MAX} entries`)
    .refine(
      (groups) => groups.flatMap(({ models }) => models).length <= FALLBACKS_MAX,
      `must name at most ${FALLBACKS_MAX} groups in all`,
    )
    .optional(),
  enable_pre_call_checks: z.boolean().optional(),
  enable_tag_filtering: z.boolean().optional(),
  default_priority: Count.optional(),
  /** Three that have nothing to act on here. */
  client_ttl: z.number().optional(),
  polling_interval: z.number().optional(),
  ignore_invalid_deployments: z.boolean().optional(),
}

const Price = z.number('must be a price in USD').min(0, 'must not be negative')

/** Prices in USD; what is given here wins over the table. */
const priceShape = {
  input_cost_per_token: Price.optional(),
  output_cost_per_token: Price.optional(),
  cache_read_input_token_cost: Price.optional(),
  input_cost_per_second: Price.optional(),
  output_cost_per_second: Price.optional(),
}

/** The fields of `litellm_params` that have a form of their own. */
const paramsShape = {
  model: Name,
  custom_llm_provider: Name.optional(),
  organization: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  timeout: Timeout.optional(),
  request_timeout: Timeout.optional(),
  stream_timeout: Timeout.optional(),
  num_retries: Count.optional(),
  tpm: Limit.optional(),
  rpm: Limit.optional(),
  itpm: Limit.optional(),
  otpm: Limit.optional(),
  max_parallel_requests: Limit.optional(),
  weight: z.number().min(0, 'must not be negative').optional(),
  order: z.int().optional(),
  tags: NameList.optional(),
  region_name: Name.optional(),
  cooldown_time: Duration.optional(),
  allowed_fails: Count.optional(),
  ...dropShape,
  ...priceShape,
  mock_timeout: Flag.optional(),
  mock_delay: Duration.optional(),
  extra_body: z.record(z.string(), z.unknown()).optional(),
  extra_headers: z.record(z.string(), z.string()).optional(),
  default_headers: z.record(z.string(), z.string()).optional(),
  headers: z.record(z.string(), z.string()).optional(),
}

/** Every field of `litellm_params`. The others than above may hold anything: their provider decides what they mean. */
export const PARAM_NAMES: ReadonlySet<string> = new Set([
  ...Object.keys(paramsShape),
  ...CHAT_PARAMS,
  ...CONNECTION_FIELDS,
  ...PROVIDER_SECRETS,
  ...LOCATION_FIELDS,
  'max_retries',
  'mock_response',
])

/** `litellm_params` with whatever else stands in it: an operator's, whose unknown fields go to the provider. */
export const LooseParams = z.looseObject(paramsShape)

/** A client's, strict by name: a strict object of 150 optional fields takes five times as long to check. */
const StrictParams = LooseParams.check(({ value, issues }) => {
  const keys = Object.keys(value).filter((key) => !PARAM_NAMES.has(key))
  if (keys.length > 0) issues.push({ code: 'unrecognized_keys', keys, input: value })
})

/** Free notes on a deployment; these of them are settings. */
const ModelInfo = z.looseObject({
  id: Name.optional(),
  base_model: Name.optional(),
  max_input_tokens: z.number().positive().optional(),
  max_tokens: z.number().positive().optional(),
  order: z.int().optional(),
  cooldown_time: Duration.optional(),
  allowed_fails: Count.optional(),
  allowed_fails_policy: AllowedFailsPolicy.optional(),
  ...priceShape,
})

/** One entry of a `model_list`. */
export const UserDeployment = z.strictObject({
  model_name: Name,
  litellm_params: StrictParams,
  model_info: ModelInfo.optional(),
  tpm: Limit.optional(),
  rpm: Limit.optional(),
})
export type UserDeployment = z.infer<typeof UserDeployment>

/** LiteLLM's router config as a client sends it: `user_config`. */
export const UserConfig = z.strictObject({
  model_list: z
    .array(UserDeployment)
    .min(1, 'must list at least one deployment')
    .max(DEPLOYMENTS_MAX, `must list at most ${DEPLOYMENTS_MAX} deployments`),
  ...routerShape,
})
export type UserConfig = z.infer<typeof UserConfig>

/** Router settings without the list: an operator's `router_settings`. */
export const RouterSettings = z.object(routerShape)
export type RouterSettings = z.infer<typeof RouterSettings>
