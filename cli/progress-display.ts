import { SingleBar } from 'cli-progress'
import type { View } from './progress.ts'
import type { Terminal } from './terminal.ts'

const PLAIN_EVERY_MS = 10_000

/** Shows how something gets on. `say` writes a line above what comes next; `stop` leaves the last of it standing. */
export type ProgressDisplay = { show(view: View): void; say(line: string): void; stop(): void }

/** A bar on a terminal; else a line at most every ten seconds, and at each change of phase. */
export function createDisplay({ stdout, say }: Pick<Terminal, 'stdout' | 'say'>): ProgressDisplay {
  return stdout.isTTY ? createBar(stdout, say) : createLines(say)
}

function createBar(stream: NodeJS.WritableStream, write: (line: string) => void): ProgressDisplay {
  let bar: SingleBar | null = null

  function stop(): void {
    bar?.stop()
    bar = null
  }

  return {
    show({ value, total, text }) {
      if (bar) {
        bar.setTotal(total)
        bar.update(value, { text })
        return
      }
      // What ends the command restores the cursor by `stop`, so no handler of signals is needed here.
      const format = '{bar} {percentage}% {text}'
      bar = new SingleBar({ stream, format, barsize: 24, hideCursor: true, emptyOnZero: true })
      bar.start(total, value, { text })
    },
    say(line) {
      stop()
      write(line)
    },
    stop,
  }
}

function createLines(write: (line: string) => void): ProgressDisplay {
  let last = { phase: '', text: '', atMs: -Infinity }
  return {
    show({ phase, text, isLast }) {
      if (isLast) return
      const atMs = performance.now()
      const isDue = phase !== last.phase || (text !== last.text && atMs - last.atMs >= PLAIN_EVERY_MS)
      if (!isDue) return
      last = { phase, text, atMs }
      write(text)
    },
    say: write,
    stop() {},
  }
}
