/** Numbers that are the same, in the same order, for the same seed and name. */
export type Random = ReturnType<typeof createRandom>

/**
 * A source of chance that can be repeated: what one name draws does not depend on what others draw.
 * @param name of what is decided by it: load and faults of one run have sources of their own.
 */
export function createRandom(seed: number, name: string) {
  let state = hash(`${seed} ${name}`)

  /** 0 to 1, without 1. */
  function next(): number {
    // Mulberry32: 32 bits of state are plenty for what to send and what to break next.
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  return {
    next,
    /** A whole number from `least` to `most`, both among them. */
    between: (least: number, most: number) => least + Math.floor(next() * (most - least + 1)),
    chance: (share: number) => next() < share,
    pick<T>(list: readonly T[]): T {
      const [first] = list
      if (first === undefined) throw new Error('Nothing to pick from.')
      return list[Math.floor(next() * list.length)] ?? first
    },
  }
}

/** 32 bits that stand for a text (FNV-1a). */
export function hash(text: string): number {
  let value = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193) >>> 0
  return value
}
