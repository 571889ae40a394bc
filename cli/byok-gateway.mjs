#!/usr/bin/env node
// The command itself. Plain JavaScript, so that an older Node gets as far as starting the pinned one.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const NODE_TO_RUN = 24

const main = fileURLToPath(new URL('main.ts', import.meta.url))
const isInstalled = import.meta.url.includes('/node_modules/')
const isNewEnough = Number(process.versions.node.split('.')[0]) >= NODE_TO_RUN

if (isNewEnough && !isInstalled) await import('./main.ts')
else runInNewProcess()

function runInNewProcess() {
  const node = isNewEnough ? process.execPath : findPinnedNode()
  if (!node) {
    const message = `byok-gateway runs on Node ${NODE_TO_RUN} or newer; this is ${process.version}.`
    process.stderr.write(`${message} Run npm ci, or install Node ${NODE_TO_RUN}.\n`)
    process.exitCode = 1
    return
  }
  const hooks = isInstalled
    ? ['--disable-warning=ExperimentalWarning', '--import', new URL('strip-types.mjs', import.meta.url).href]
    : []
  const child = spawn(node, [...hooks, main, ...process.argv.slice(2)], { stdio: 'inherit' })
  // The terminal sends its signals to both; what is sent to this process alone is passed on.
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal) process.removeAllListeners(signal)
    if (signal) process.kill(process.pid, signal)
    else process.exitCode = code ?? 1
  })
}

function findPinnedNode() {
  const require = createRequire(import.meta.url)
  const system = process.platform === 'win32' ? 'win' : process.platform
  try {
    const manifest = require.resolve(`node-${system}-${process.arch}/package.json`)
    const file = manifest.replace(
      /package\.json$/,
      process.platform === 'win32' ? 'bin/node.exe' : 'bin/node',
    )
    return existsSync(file) ? file : null
  } catch {
    return null
  }
}
