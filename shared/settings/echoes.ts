// Of what a client sent, nothing that is told repeats more than this many characters.
const ECHO_MAX = 200
const MESSAGE_MAX = 1000

/** An error without the better part of a name that its client made long: the name of an unknown field can be as long as a body. */
export function cutEchoes<Told extends { message: string; param: string | null }>(error: Told): Told {
  const { message, param } = error
  const isLong = param !== null && param.length > ECHO_MAX
  const shortened = isLong ? cut(param, ECHO_MAX) : param
  const text = isLong ? message.replaceAll(param, () => cut(param, ECHO_MAX)) : message
  return { ...error, message: cut(text, MESSAGE_MAX), param: shortened }
}

function cut(text: string, charactersMax: number): string {
  return text.length > charactersMax ? `${text.slice(0, charactersMax)}...`.toWellFormed() : text
}
