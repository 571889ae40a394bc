/**
 * The candidate that a misspelt name most likely stands for, or null: equal but for case and separators, else within
 * an edit distance of 2 (1 for names of up to five characters). Names over 64 characters have none.
 */
export function closestName(name: string, candidates: Iterable<string>): string | null {
  if (name.length > 64) return null
  const plain = plainName(name)
  const distanceMax = plain.length <= 5 ? 1 : 2
  let best: string | null = null
  let bestDistance = distanceMax + 1
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) > distanceMax + 3) continue
    const distance = editDistance(plain, plainName(candidate))
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** ` Did you mean "x"?`, or nothing. */
export function suggestion(name: string, candidates: Iterable<string>): string {
  const closest = closestName(name, candidates)
  return closest === null || closest === name ? '' : ` Did you mean "${closest}"?`
}

/** A name without case and separators: `apiKey`, `api-key` and `API_KEY` are one. */
function plainName(name: string): string {
  return name.toLowerCase().replaceAll(/[_\-\s]/g, '')
}

/** Insertions, deletions, substitutions and swaps of neighbours between two short strings. */
function editDistance(left: string, right: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= right.length; j += 1) {
      const cost = left[i - 1] === right[j - 1] ? 0 : 1
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + cost)
      const isSwap = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]
      if (isSwap) best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1)
      row.push(best)
    }
    beforeLast = last
    last = row
  }
  return last[right.length] ?? 0
}
