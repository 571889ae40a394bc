// Runs before `npm start` and `npm test`, on whatever Node and before anything is installed: plain JavaScript, no
// dependencies. Installs when node_modules is missing or is not what package-lock.json says, and makes sure that a
// Node that can run this project comes next. `node cli/setup.mjs [--dev] [FOLDER]`; --dev: the tests' packages too.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const NODE_TO_INSTALL = 20
const NODE_TO_RUN = 24

const options = process.argv.slice(2)
const root =
  options.find((option) => !option.startsWith('-')) ?? dirname(dirname(fileURLToPath(import.meta.url)))

process.exitCode = prepare(options.includes('--dev'))

function prepare(withDev) {
  if (majorOf(process.version) < NODE_TO_INSTALL) {
    const message = `byok-gateway needs Node ${NODE_TO_INSTALL} or newer to install itself; this is ${process.version}.`
    return fail(`${message} Get one at https://nodejs.org/.`)
  }
  const difference = findDifference(withDev)
  if (difference) {
    process.stderr.write(`byok-gateway: installing with npm ci (${difference}).\n`)
    if (!install()) return fail('npm ci failed; its message is above. Mend that and run the command again.')
  }
  return checkNode()
}

/** Why node_modules is not what package-lock.json says; null when it is. */
function findDifference(withDev) {
  const locked = readPackages(join(root, 'package-lock.json'))
  if (!locked) return null
  // npm writes this file last, so that a broken-off install has none.
  const installed = readPackages(join(root, 'node_modules', '.package-lock.json'))
  if (!installed) return 'node_modules is missing or incomplete'
  for (const [path, entry] of Object.entries(locked)) {
    const isNeeded = isPinnedNode(path, entry) || !(path === '' || entry.optional || entry.devOptional)
    if (!isNeeded || (entry.dev && !withDev)) continue
    const found = installed[path]
    if (found?.version !== entry.version || found.integrity !== entry.integrity) return `${path} has changed`
    if (!existsSync(join(root, path))) return `${path} is missing`
  }
  return null
}

/** The pinned Node is optional, since not every platform has one; where it exists, an older Node can't do without. */
function isPinnedNode(path, entry) {
  if (!path.startsWith('node_modules/node-') || majorOf(process.version) >= NODE_TO_RUN) return false
  return [entry.os].flat().includes(process.platform) && [entry.cpu].flat().includes(process.arch)
}

function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return null
  }
}

function install() {
  const npm = process.env.npm_execpath
  // No package of ours needs a script of its own to run at install, and none gets to.
  const flags = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const result = npm
    ? spawnSync(process.execPath, [npm, ...flags], { cwd: root, stdio: ['ignore', 2, 2] })
    : spawnSync('npm', flags, { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' })
  return result.status === 0
}

/** npm puts node_modules/.bin first on PATH, so that the pinned Node, if it is there, runs what comes next. */
function checkNode() {
  const link = join(root, 'node_modules', '.bin', 'node')
  if (process.execPath.startsWith(join(realpathSync(root), 'node_modules') + sep)) return 0
  if (process.platform !== 'win32' && existsSync(link)) {
    try {
      execFileSync(link, ['--version'], { stdio: 'ignore' })
      return 0
    } catch {
      // Built for another C library than this system's (Alpine). Out of the way, or nothing would start.
      rmSync(link)
    }
  }
  if (majorOf(process.version) >= NODE_TO_RUN) return 0
  if (process.platform === 'win32' && existsSync(`${link}.cmd`)) return 0
  const system = `${process.platform}-${process.arch}`
  const message = `byok-gateway runs on Node ${NODE_TO_RUN} or newer; this is ${process.version}, and npm has none for ${system}.`
  return fail(`${message} Install Node ${NODE_TO_RUN} (https://nodejs.org/) and run the command again.`)
}

function majorOf(version) {
  return Number(version.slice(1).split('.')[0])
}

function fail(message) {
  process.stderr.write(`byok-gateway: ${message}\n`)
  return 1
}
