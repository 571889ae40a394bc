/**
 * Gathers calls: those of one turn of the event loop under one key go together, so that many cost one round trip.
 * @param run Does what was gathered under one key; its results are in the order of the items.
 * @param width How many go together at most: so many, or as many of the first as it says, at least one.
 */
export function createGather<Key, Item, Result>(
  run: (key: Key, items: readonly Item[]) => Promise<readonly Result[]>,
  width: number | ((items: readonly Item[]) => number),
) {
  type Waiting = { item: Item; resolve: (result: Result) => void; reject: (error: unknown) => void }
  let gathered = new Map<Key, Waiting[]>()

  function flush(): void {
    const all = gathered
    gathered = new Map()
    for (const [key, waiting] of all) {
      for (let rest: readonly Waiting[] = waiting; rest.length > 0;) {
        const count = typeof width === 'number' ? width : width(rest.map(({ item }) => item))
        void send(key, rest.slice(0, count))
        rest = rest.slice(count)
      }
    }
  }

  async function send(key: Key, waiting: readonly Waiting[]): Promise<void> {
    try {
      const results = await run(
        key,
        waiting.map(({ item }) => item),
      )
      if (results.length !== waiting.length) throw new Error('A gathered call was not answered.')
      results.forEach((result, index) => waiting[index]?.resolve(result))
    } catch (error) {
      for (const { reject } of waiting) reject(error)
    }
  }

  return function call(key: Key, item: Item): Promise<Result> {
    if (gathered.size === 0) setImmediate(flush)
    return new Promise((resolve, reject) => {
      const waiting = gathered.get(key)
      const one = { item, resolve, reject }
      if (waiting) waiting.push(one)
      else gathered.set(key, [one])
    })
  }
}
