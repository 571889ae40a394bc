import { isObject } from '../error-body.ts'
import { RequestFault } from './request-fault.ts'

export type Fields = Record<string, unknown>

/** A number of a request; undefined when it is absent or null. @throws {RequestFault} */
export function numberIn(fields: Fields, name: string): number | undefined {
  const value = fields[name] ?? undefined
  if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value
  throw new RequestFault(`${name} must be a number.`, name)
}

/** An object of a request; undefined when it is absent or null. @throws {RequestFault} */
export function objectIn(fields: Fields, name: string): Fields | undefined {
  const value = fields[name] ?? undefined
  if (value === undefined || isObject(value)) return value
  throw new RequestFault(`${name} must be an object.`, name)
}

/** A list of objects; empty when it is absent or null. @throws {RequestFault} */
export function objectsIn(fields: Fields, name: string, place = name): Fields[] {
  const value = fields[name] ?? []
  if (Array.isArray(value) && value.every(isObject)) return value
  throw new RequestFault(`${place} must be a list of objects.`, place)
}

/** A text; undefined when it is absent or null. @throws {RequestFault} */
export function textIn(fields: Fields, name: string, place = name): string | undefined {
  const value = fields[name] ?? undefined
  if (value === undefined || typeof value === 'string') return value
  throw new RequestFault(`${place} must be a string.`, place)
}

/** A text that must be there. @throws {RequestFault} */
export function neededText(fields: Fields, name: string, place: string): string {
  const value = textIn(fields, name, place)
  if (value === undefined || value === '') throw new RequestFault(`${place} is missing.`, place)
  return value
}
