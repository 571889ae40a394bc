/**
 * How an object of a fixed shape is written into a record: as a row of its values, since names would take more room than what
 * they name. The order is part of what is stored: new names go to the end, and none is ever taken out.
 */
export type RowForm<Name extends string> = {
  /** Those that are mostly missing or null last: a row ends with its last value. */
  names: readonly Name[]
  /** Those that are missing where there is no value; all others are null. */
  optional: ReadonlySet<Name>
  /** What has more values, from a later version, is no row of it: it must not be read in part. */
  isWhole?: boolean
}

/**
 * The object as a row. First comes what the form has no place for (0: nothing), by name: fields that it does not know, and a
 * null where that is not the same as none.
 */
export function toRow<Name extends string>(
  form: RowForm<Name>,
  object: { readonly [Key in Name]?: unknown },
): unknown[] {
  const row: unknown[] = [0]
  let others = Object.keys(object).length
  let length = 1
  for (const name of form.names) {
    const value = object[name]
    row.push(value ?? null)
    if (value === undefined) continue
    if (value !== null) length = row.length
    if (value !== null || !form.optional.has(name)) others -= 1
  }
  row.length = length
  if (others > 0) row[0] = othersOf(form, object)
  return row
}

function othersOf<Name extends string>({ names, optional }: RowForm<Name>, object: object): object {
  const known: ReadonlySet<string> = new Set(names)
  const entries = Object.entries(object).filter(
    ([name, value]) => !known.has(name) || (value === null && optional.has(name as Name)), // known, so it is one
  )
  return Object.fromEntries(entries)
}

/**
 * The object that was written as this row. An object is what it was written as before there were rows.
 * @throws {Error} for anything else.
 */
export function fromRow<Shape extends object>(
  { names, optional, isWhole = false }: RowForm<Extract<keyof Shape, string>>,
  row: unknown,
): Shape {
  if (isObject(row)) return row as Shape // written by ourselves, as is the row
  if (
    !Array.isArray(row) ||
    (row[0] !== 0 && !isObject(row[0])) ||
    (isWhole && row.length > names.length + 1)
  )
    throw new Error("A row can't be read: it is damaged, or of another version of the gateway.")
  const object: { [Key in keyof Shape]?: unknown } = {}
  for (const [at, name] of names.entries()) {
    const value: unknown = row[at + 1] ?? null
    if (value !== null || !optional.has(name)) object[name] = value
  }
  return Object.assign(object, row[0] === 0 ? {} : row[0]) as Shape // all its names, as toRow had them
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
