/**
 * Tells where a JSON object that comes in pieces is complete, without reading any of it twice.
 * @returns a function that takes the next piece and says whether the object has ended with it.
 */
export function createJsonEnd(): (piece: string) => boolean {
  let depth = 0
  let isInText = false
  let isEscaped = false
  let hasEnded = false

  function read(char: string): void {
    if (isEscaped) isEscaped = false
    else if (isInText && char === '\\') isEscaped = true
    else if (char === '"') isInText = !isInText
    else if (isInText) return
    else if (char === '{' || char === '[') depth += 1
    else if (char === '}' || char === ']') hasEnded = --depth <= 0
  }

  return (piece) => {
    for (const char of piece) if (!hasEnded) read(char)
    return hasEnded
  }
}
