/**
 * Patterns for client-given bases (`configurable_clientside_auth_params: [{api_base: ...}]`): regular expressions as
 * LiteLLM takes them, with two differences that close its hole. They match the whole normalised URL, and only a `/`
 * written in the pattern matches a `/`: `.*` can neither leave the host nor bring the path into it.
 *
 * A pattern becomes a small automaton that reads each character once, so no pattern can be slow: steps are at most
 * URL length times states.
 */

type Matcher = (char: string) => boolean
/** `char` reads one character; `split` goes on at all of its targets; `end` accepts. */
type State =
  | { kind: 'char'; test: Matcher; next: number }
  | { kind: 'split'; next: number[] }
  | { kind: 'end' }
type Node =
  | { kind: 'char'; test: Matcher }
  | { kind: 'sequence'; items: Node[] }
  | { kind: 'choice'; items: Node[] }
  | { kind: 'repeat'; item: Node; min: number; max: number }

const PATTERN_CHARACTERS_MAX = 512
const STATES_MAX = 4000
const REPEAT_MAX = 100
const URL_CHARACTERS_MAX = 2048

/** Why a pattern can't be used; the config loader adds where it stands. */
export class UrlPatternError extends Error {}

/**
 * Compiles a pattern to a test over a normalised URL. Known: literals, escapes, `.`, classes, groups, `|`, `*`, `+`,
 * `?`, `{m,n}`, and `^` `$` at the ends.
 * @throws {UrlPatternError}
 */
export function compileUrlPattern(pattern: string): (url: string) => boolean {
  if (pattern.length > PATTERN_CHARACTERS_MAX) throw new UrlPatternError('is too long')
  const inner = pattern.replace(/^\^/, '').replace(/(?<!\\)\$$/, '')
  const parser = createParser(inner)
  const states = compile(parser.parse())
  return (url) => url.length <= URL_CHARACTERS_MAX && run(states, url)
}

function run(states: State[], text: string): boolean {
  let current = new Set<number>()
  follow(states, states.length - 1, current)
  for (const char of text) {
    const following = new Set<number>()
    for (const index of current) {
      const state = states[index]
      if (state?.kind === 'char' && state.test(char)) follow(states, state.next, following)
    }
    if (following.size === 0) return false
    current = following
  }
  return current.has(0)
}

/** Adds a state and all that are reached from it without reading. */
function follow(states: State[], start: number, reached: Set<number>): void {
  const pending = [start]
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    if (reached.has(index)) continue
    reached.add(index)
    const state = states[index]
    if (state?.kind === 'split') pending.push(...state.next)
  }
}

/** States from the end backwards: 0 accepts, the last one is the start. */
function compile(root: Node): State[] {
  const states: State[] = [{ kind: 'end' }]
  let steps = 0
  function add(state: State): number {
    if (states.length >= STATES_MAX) throw new UrlPatternError('has too many repetitions')
    states.push(state)
    return states.length - 1
  }
  function build(node: Node, next: number): number {
    // Repetitions of nothing add no state: they are counted too.
    steps += 1
    if (steps > 10 * STATES_MAX) throw new UrlPatternError('has too many repetitions')
    if (node.kind === 'char') return add({ kind: 'char', test: node.test, next })
    if (node.kind === 'sequence') return node.items.reduceRight((after, item) => build(item, after), next)
    if (node.kind === 'choice')
      return add({ kind: 'split', next: node.items.map((item) => build(item, next)) })
    let entry = next
    if (node.max === Infinity) {
      const loop: State = { kind: 'split', next: [next] }
      entry = add(loop)
      loop.next.push(build(node.item, entry))
    } else {
      for (let i = node.min; i < node.max; i += 1) {
        entry = add({ kind: 'split', next: [next, build(node.item, entry)] })
      }
    }
    for (let i = 0; i < node.min; i += 1) entry = build(node.item, entry)
    return entry
  }
  const start = build(root, 0)
  add({ kind: 'split', next: [start] })
  return states
}

function createParser(text: string) {
  let at = 0

  function parse(): Node {
    const node = choice(0)
    if (at < text.length) throw new UrlPatternError('has a ")" without its "("')
    return node
  }

  function choice(depth: number): Node {
    if (depth > 20) throw new UrlPatternError('is nested too deeply')
    const items = [sequence(depth)]
    while (text[at] === '|') {
      at += 1
      items.push(sequence(depth))
    }
    return items.length === 1 && items[0] ? items[0] : { kind: 'choice', items }
  }

  function sequence(depth: number): Node {
    const items: Node[] = []
    while (at < text.length && text[at] !== '|' && text[at] !== ')') items.push(repeated(atom(depth)))
    return { kind: 'sequence', items }
  }

  function atom(depth: number): Node {
    const char = text[at] ?? ''
    at += 1
    if (char === '(') return group(depth)
    if (char === '[') return { kind: 'char', test: charClass() }
    if (char === '.') return { kind: 'char', test: (other) => other !== '/' }
    if (char === '\\') return { kind: 'char', test: escaped() }
    if ('*+?{'.includes(char)) throw new UrlPatternError(`has nothing to repeat before "${char}"`)
    if (char === '^' || char === '$') throw new UrlPatternError(`has "${char}" in its middle`)
    return { kind: 'char', test: (other) => other === char }
  }

  function group(depth: number): Node {
    if (text[at] === '?') {
      if (text[at + 1] !== ':') throw new UrlPatternError('uses a group other than ( ) and (?: )')
      at += 2
    }
    const node = choice(depth + 1)
    if (text[at] !== ')') throw new UrlPatternError('has a "(" without its ")"')
    at += 1
    return node
  }

  function repeated(item: Node): Node {
    const found = /^(?:[*+?]|\{(\d{1,4})(,(\d{0,4}))?\})/.exec(text.slice(at))
    if (!found) return item
    at += found[0].length
    if (text[at] === '?') at += 1
    if (/^[*+?{]/.test(text.slice(at))) throw new UrlPatternError('repeats a repetition')
    if (found[0] === '*') return { kind: 'repeat', item, min: 0, max: Infinity }
    if (found[0] === '+') return { kind: 'repeat', item, min: 1, max: Infinity }
    if (found[0] === '?') return { kind: 'repeat', item, min: 0, max: 1 }
    const min = Number(found[1])
    const max = found[2] === undefined ? min : found[3] === '' ? Infinity : Number(found[3])
    const isBounded = min <= REPEAT_MAX && (max <= REPEAT_MAX || max === Infinity) && min <= max
    if (!isBounded) throw new UrlPatternError(`repeats more than ${REPEAT_MAX} times`)
    return { kind: 'repeat', item, min, max }
  }

  function escaped(): Matcher {
    const char = text[at] ?? ''
    at += 1
    if (char === 'd') return (other) => /^\d$/.test(other)
    if (char === 'w') return (other) => /^\w$/.test(other)
    if (char === '' || /[A-Za-z0-9]/.test(char))
      throw new UrlPatternError(`uses "\\${char}", which is not known`)
    return (other) => other === char
  }

  function charClass(): Matcher {
    const isNegated = text[at] === '^'
    if (isNegated) at += 1
    const tests: Matcher[] = []
    for (let isFirst = true; text[at] !== ']' || isFirst; isFirst = false) {
      if (at >= text.length) throw new UrlPatternError('has a "[" without its "]"')
      tests.push(classItem())
    }
    at += 1
    return (other) => other !== '/' && tests.some((test) => test(other)) !== isNegated
  }

  function classItem(): Matcher {
    const low = text[at] ?? ''
    at += 1
    if (low === '\\') return escaped()
    const high = text[at + 1] ?? ''
    if (text[at] !== '-' || high === ']' || high === '') return (other) => other === low
    at += 2
    return (other) => other >= low && other <= high
  }

  return { parse }
}
