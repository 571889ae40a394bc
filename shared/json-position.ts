type Expected = 'value' | 'value or ]' | 'key' | 'key or }' | 'colon' | 'comma or end'

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORD = /true|false|null/y

/**
 * Where a text stops being JSON: the index of the first character that can't stand there (the length if it just ends
 * too early), or null for valid JSON. For error messages only: V8's own often names no position, and quotes the body.
 */
export function findJsonError(text: string): number | null {
  const open: ('{' | '[')[] = []
  let expected: Expected = 'value'
  let index = skipBlanks(text, 0)
  while (index < text.length) {
    const character = text.charAt(index)
    let next = index + 1
    if (expected === 'comma or end') {
      const inside = open.at(-1)
      if (inside === undefined) return index
      if (character === ',') expected = inside === '{' ? 'key' : 'value'
      else if (character === (inside === '{' ? '}' : ']')) open.pop()
      else return index
    } else if (expected === 'colon') {
      if (character !== ':') return index
      expected = 'value'
    } else if (expected === 'key' || expected === 'key or }') {
      if (character === '}' && expected === 'key or }') {
        open.pop()
        expected = 'comma or end'
      } else {
        if (character !== '"') return index
        const end = endOfString(text, index)
        if (end.isBad) return end.index
        next = end.index
        expected = 'colon'
      }
    } else if (character === ']' && expected === 'value or ]') {
      open.pop()
      expected = 'comma or end'
    } else if (character === '{' || character === '[') {
      open.push(character)
      expected = character === '{' ? 'key or }' : 'value or ]'
    } else {
      const end = endOfScalar(text, index)
      if (end.isBad) return end.index
      next = end.index
      expected = 'comma or end'
    }
    index = skipBlanks(text, next)
  }
  return expected === 'comma or end' && open.length === 0 ? null : text.length
}

type End = { isBad: boolean; index: number }

function endOfScalar(text: string, start: number): End {
  if (text.charAt(start) === '"') return endOfString(text, start)
  for (const pattern of [NUMBER, WORD]) {
    pattern.lastIndex = start
    if (pattern.test(text)) return { isBad: false, index: pattern.lastIndex }
  }
  return { isBad: true, index: start }
}

// By hand: a regular expression over a string of megabytes overflows the matcher's stack.
function endOfString(text: string, start: number): End {
  for (let index = start + 1; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    if (code === 0x22) return { isBad: false, index: index + 1 }
    if (code < 0x20) return { isBad: true, index }
    if (code === 0x5c) {
      index += 1
      const escape = text.charAt(index)
      if (escape === 'u' && /^[0-9a-fA-F]{4}$/.test(text.slice(index + 1, index + 5))) index += 4
      else if (!'"\\/bfnrt'.includes(escape) || escape === '') return { isBad: true, index }
    }
  }
  return { isBad: true, index: text.length }
}

function skipBlanks(text: string, start: number): number {
  let index = start
  while (index < text.length && ' \t\n\r'.includes(text.charAt(index))) index += 1
  return index
}
