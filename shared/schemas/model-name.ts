/**
 * What makes a name unfit for a URL's path, or null: half a surrogate pair can't be encoded, and a segment of dots is
 * taken as the way to another path.
 */
export function nameFault(name: string): string | null {
  if (!name.isWellFormed()) return 'must be well-formed Unicode'
  if (/\p{Cc}/u.test(name)) return 'must not hold control characters'
  if (name.split('/').some((segment) => segment === '.' || segment === '..')) {
    return 'must not have "." or ".." between slashes'
  }
  return null
}
