import type { ChildProcess } from 'node:child_process'

/** How a process ended: by itself with a code, by a signal, or it could not be started at all. */
export type ProcessExit = { code: number | null; signal: string | null; error?: Error }

/** A process we started. `stop` asks it to end, insists after a while, and resolves when it is gone. */
export type RunningProcess = { pid: number; exited: Promise<ProcessExit>; stop(): Promise<void> }

/** Resolves when the child has ended or could not be started; never rejects. */
export function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((done) => {
    child.once('exit', (code, signal) => done({ code, signal }))
    child.once('error', (error) => done({ code: null, signal: null, error }))
  })
}
