import { NotAllowedError } from '../errors.ts'
import { namesGiven } from '../plans/plan-tables.ts'
import type { RequestFallbacks } from '../plans/request-fallbacks.ts'
import type { Plan } from '../schemas/plan.ts'

/** In an error; a key can be for hundreds. */
const MODELS_TOLD_MAX = 10

/** What a gateway key may ask for. Null: anything. */
export type Allowed = {
  /** Names, or how names begin and a `*`. */
  models: readonly string[] | null
  /** Paths. */
  endpoints: readonly string[] | null
}

/** Of two names of one model, one that is allowed is enough. */
export function isModelAllowed({ models }: Pick<Allowed, 'models'>, ...names: string[]): boolean {
  if (models === null) return true
  return models.some((pattern) =>
    names.some((name) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern)),
  )
}

/** @throws {NotAllowedError} */
export function requireEndpoint({ endpoints }: Pick<Allowed, 'endpoints'>, path: string): void {
  if (endpoints === null || endpoints.includes(path)) return
  const message = `This gateway key may not call ${path}. What it may call: ${endpoints.join(', ')}.`
  throw new NotAllowedError('endpoint_not_allowed', message)
}

/**
 * Checks the names by which a request asks for models: those of its fallbacks are asked for as well. Where the operator's
 * list leads from there is his own decision.
 * @throws {NotAllowedError}
 */
export function requireAsked(allowed: Allowed, model: string, fallbacks: RequestFallbacks): void {
  if (allowed.models === null) return
  if (!isModelAllowed(allowed, model)) throw modelNotAllowed(allowed.models, 'model')
  const objects = [fallbacks.any, fallbacks.contextWindow, fallbacks.contentPolicy].flatMap((one) =>
    one?.kind === 'list' ? one.to.flatMap((target) => (typeof target === 'string' ? [] : [target])) : [],
  )
  const named = namesGiven(fallbacks).flatMap(({ to, path }) => to.map((name) => ({ model: name, path })))
  const refused = [...objects, ...named].find((target) => !isModelAllowed(allowed, target.model))
  if (refused) throw modelNotAllowed(allowed.models, refused.path)
}

/**
 * Checks the plan of a `user_config`: its names are the client's own and say nothing, so what counts is what is called, as
 * `provider/model` or by the model alone.
 * @throws {NotAllowedError}
 */
export function requirePlanned(allowed: Allowed, { deployments }: Plan): void {
  if (allowed.models === null) return
  const isRefused = deployments.some(
    ({ provider, model }) => !isModelAllowed(allowed, `${provider}/${model}`, model),
  )
  if (isRefused) throw modelNotAllowed(allowed.models, 'user_config')
}

// What was asked for is not repeated: it may be a key that stands in the wrong place.
function modelNotAllowed(models: readonly string[], param: string): NotAllowedError {
  const others = models.length > MODELS_TOLD_MAX ? ', ...' : ''
  const message = `This gateway key may not use this model. What it may use: ${models.slice(0, MODELS_TOLD_MAX).join(', ')}${others}.`
  return new NotAllowedError('model_not_allowed', message, param)
}
