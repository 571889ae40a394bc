import type { Readable } from 'node:stream'
import type { Environment } from './settings.ts'

/** Ends a command that ran while the person at the terminal stopped it. */
export const INTERRUPTED = 130

/** Where a command that calls the gateway speaks, and by whom it is stopped. */
export type Terminal = {
  environment: Environment
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
  stdin: Readable & { isTTY?: boolean }
  stdout: NodeJS.WritableStream & { isTTY?: boolean }
  /** What was asked for, as it is, on stdout. */
  print: (text: string) => void
  /** A line for a person: on stdout, but on stderr where `--json` keeps stdout for programs. */
  say: (line: string) => void
  /** A line that is no part of what was asked for, on stderr. */
  warn: (line: string) => void
}

/** Text that others wrote, without what would move the cursor or ring the bell. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ')
}

/** Rows as columns of the same width, two spaces between them. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map(printable))
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  )
  const lines = cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}
