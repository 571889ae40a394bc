import { execFileSync } from 'node:child_process'

/** The Python that tests run: `TEST_PYTHON`, else `python3`. */
export const PYTHON = process.env.TEST_PYTHON ?? 'python3'

/** Why the Python SDK can't be run here; an empty string when it can. */
export function missingPythonSdk(): string {
  try {
    execFileSync(PYTHON, ['-c', 'import openai'], { stdio: 'pipe' })
    return ''
  } catch (error) {
    const text = error instanceof Error ? error.message : ''
    return /ENOENT/.test(text) ? `${PYTHON} is not installed` : `${PYTHON} has no package "openai"`
  }
}
