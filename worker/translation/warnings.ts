/** What a translation could not say, each once, in the order it was met; for the job's `warnings`. */
export type Warnings = ReturnType<typeof createWarnings>

// Names come from the client: a request of thousands of odd things must not make a job's record grow with it.
const NAME_CHARS_MAX = 80
const WARNINGS_MAX = 40

/** An empty list of warnings. */
export function createWarnings() {
  const messages = new Set<string>()
  const add = (message: string): void => {
    if (messages.size < WARNINGS_MAX) messages.add(message)
  }
  return {
    /** A field or thing that is left out. */
    leftOut: (name: string, why = 'a chat completion has no place for it') =>
      add(`\`${name.slice(0, NAME_CHARS_MAX)}\` was left out: ${why}.`),
    /** Something that is said in another way. */
    say: add,
    list: (): string[] => [...messages],
  }
}
