import { z } from 'zod'
import { CountsByClass } from './error-class.ts'
import { Prices } from './plan.ts'

const Limit = z.number().nullable()
const UnixSeconds = z.number().int().nullable()

/** How many calls in which time; null: no limit. */
const Limits = z.object({ rpm: Limit, tpm: Limit, itpm: Limit, otpm: Limit, max_parallel: Limit })

/** When failures make a deployment rest. */
const Cooldown = z.object({
  disabled: z.boolean(),
  /** Null: more than half of at least five calls. */
  allowed_fails: z.number().nullable(),
  /** Wins over `allowed_fails` for these classes. */
  policy: CountsByClass.nullable(),
  cooldown_time_s: z.number(),
})

/** Right now. Times are unix seconds, null when it is not so. */
const DeploymentState = z.object({
  cooling_until: UnixSeconds,
  /** Its key rests after a 429. */
  paused_until: UnixSeconds,
  /** Its provider said that nothing is left until then. */
  rests_until: UnixSeconds,
  /** In the window; counted only where a limit or a strategy needs it. */
  used: z.object({
    requests: z.number(),
    tokens: z.number(),
    input_tokens: z.number(),
    output_tokens: z.number(),
  }),
  in_flight: z.number(),
})

/** What a job goes by on one deployment: never a key, a header's value or the path of a base. */
export const DeploymentFacts = z.object({
  id: z.string(),
  name: z.string(),
  provider: z.string(),
  /** With its port unless that is the scheme's own; null for a canned answer. */
  host: z.string().nullable(),
  weight: z.number().nullable(),
  order: z.number().nullable(),
  num_retries: z.number().nullable(),
  limits: Limits.nullable(),
  /** Of one call. */
  timeout_s: z.number().nullable(),
  cooldown: Cooldown.nullable(),
  max_input_tokens: z.number().nullable(),
  /** USD per token, or per second. */
  prices: Prices.nullable(),
})
export type DeploymentFacts = z.infer<typeof DeploymentFacts>

/** One called with the client's own key. On an entry of the operator's list, what he set there is null. */
const OwnDeployment = z.object({
  owner: z.literal('client'),
  ...DeploymentFacts.shape,
  /** Whether its window holds the prompt by our estimate; null: the window is not known. */
  fits: z.boolean().nullable(),
  state: DeploymentState,
})
export type OwnDeployment = z.infer<typeof OwnDeployment>

/** One called with the operator's key: his limits, prices and use are his own affair, and other tenants'. */
const OperatorsDeployment = z.object({
  owner: z.literal('operator'),
  name: z.string(),
  provider: z.string(),
  /** Neither cooling nor resting after a 429. */
  available: z.boolean(),
})
export type OperatorsDeployment = z.infer<typeof OperatorsDeployment>

/** How a model group is called. */
export const GroupFacts = z.object({
  strategy: z.enum([
    'simple-shuffle',
    'least-busy',
    'usage-based-routing-v2',
    'latency-based-routing',
    'cost-based-routing',
  ]),
  retries: z.object({
    /** Unless the deployment that failed has its own. */
    num_retries: z.number(),
    /** Wins over every `num_retries` for these classes. */
    policy: CountsByClass,
  }),
})
export type GroupFacts = z.infer<typeof GroupFacts>

/** Fallback groups in the order a job would try them when each group fails for that reason. */
export const FallbackOrder = z.object({
  any_failure: z.array(z.string()),
  context_window: z.array(z.string()),
  content_policy: z.array(z.string()),
})
export type FallbackOrder = z.infer<typeof FallbackOrder>

/** What would happen to a completion, as far as is known now. */
export const PlanView = z.object({
  object: z.literal('plan'),
  /** As it was asked for. */
  model: z.string(),
  source: z.enum(['user_config', 'client_credentials', 'operator']),
  /** The model group it starts with. */
  group: z.string(),
  groups: z.array(
    z.object({
      name: z.string(),
      ...GroupFacts.shape,
      deployments: z.array(z.discriminatedUnion('owner', [OwnDeployment, OperatorsDeployment])),
    }),
  ),
  fallbacks: FallbackOrder,
  caps: z.object({
    max_attempts: z.number(),
    max_fallbacks: z.number(),
    /** Of the whole job, from when it may start. */
    deadline_s: z.number(),
    /** Of one call, unless its deployment has its own. */
    timeout_s: z.number(),
  }),
  estimated_tokens: z.object({ input: z.number(), output: z.number() }),
  /** What was lowered or may surprise. */
  warnings: z.array(z.string()),
  /** JSON paths of what was given and has no effect. */
  ignored: z.array(z.string()),
})
export type PlanView = z.infer<typeof PlanView>
