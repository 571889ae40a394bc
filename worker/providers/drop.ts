import type { DroppedParams } from '../../shared/schemas/plan.ts'
import { isObject } from './error-body.ts'
import { findUnsupported } from './unsupported-params.ts'

/** A path deeper than this leads nowhere that a provider looks. */
const SEGMENTS_MAX = 20

/**
 * Takes parameters out of a body, which itself stays as it is: those named in any case, a name being one of the body's fields
 * or a path in LiteLLM's form (`a.b`, `tools[*].function.strict`, `tools[0].x`); and those that the target is known not to take,
 * but for the allowed ones.
 */
export function dropParams(
  body: Record<string, unknown>,
  drop: DroppedParams | null | undefined,
  target: { provider: string; model: string },
): Record<string, unknown> {
  if (!drop) return body
  const refused = drop.unsupported ? findUnsupported(target, body) : []
  const top = new Set([...drop.names, ...refused.filter((name) => !drop.allowed.includes(name))])
  const kept = Object.fromEntries(Object.entries(body).filter(([name]) => !top.has(name)))
  return drop.names.reduce((rest, name) => {
    const segments = name.match(/[^.[\]]+|\[[^\]]*\]/g) ?? []
    if (segments.length < 2 || segments.length > SEGMENTS_MAX) return rest
    const bare = removeAt(rest, segments)
    return isObject(bare) ? bare : rest
  }, kept)
}

/** A copy without what stands at the path; the value itself where the path leads nowhere. Elements of lists are never removed. */
function removeAt(value: unknown, [segment = '', ...rest]: string[]): unknown {
  if (segment.startsWith('[')) {
    if (!Array.isArray(value) || rest.length === 0) return value
    const index = segment.slice(1, -1)
    return value.map((item: unknown, at) =>
      index === '*' || index === String(at) ? removeAt(item, rest) : item,
    )
  }
  if (!isObject(value) || !Object.hasOwn(value, segment)) return value
  const { [segment]: inner, ...others } = value
  return rest.length === 0 ? others : { ...value, [segment]: removeAt(inner, rest) }
}
