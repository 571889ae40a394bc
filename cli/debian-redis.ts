import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

const UPDATE_TIMEOUT_MS = 120_000
/** Packages whose rdb checker is the server itself under another name. */
const PACKAGES = [
  { name: 'redis-tools', binary: 'redis-check-rdb' },
  { name: 'valkey-tools', binary: 'valkey-check-rdb' },
]

/** Finds the unpacked libraries, then becomes the server: the process id stays the one that was spawned. */
const LAUNCHER = `#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here/lib" exec "$here/bin/redis-server" "$@"
`

/**
 * Unpacks Debian's Redis into `folder` without root and installs nothing; several processes may do so at once, the
 * first one wins. `folder/redis-server` starts it. Takes about a second.
 *
 * The server needs no package of its own: Redis decides by the name it is called with whether it is the server or the
 * checker of its dump files, so that `redis-check-rdb` of `redis-tools` is the whole of it.
 * @throws {Error} when apt has neither package or can't download it.
 */
export async function unpackDebianRedis(folder: string): Promise<void> {
  await mkdir(join(folder, '..'), { recursive: true })
  const work = await mkdtemp(`${folder}.`)
  try {
    await downloadAndUnpack(work)
    await keepServerOnly(work)
    await publish(join(work, 'out'), folder)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** First with the package lists of this system; where they are empty or too old, with lists of our own. */
async function downloadAndUnpack(work: string): Promise<void> {
  // Without this, apt as root drops to a user who may not read the folder, and warns about it.
  const options = ['-o', 'APT::Sandbox::User=root', '-o', 'Debug::NoLocking=1']
  await mkdir(join(work, 'root'))
  try {
    await download(work, options)
  } catch {
    const lists = join(work, 'apt')
    await mkdir(join(lists, 'lists', 'partial'), { recursive: true })
    await mkdir(join(lists, 'cache', 'archives', 'partial'), { recursive: true })
    const own = ['-o', `Dir::State::Lists=${lists}/lists`, '-o', `Dir::Cache=${lists}/cache`]
    await apt('apt-get', [...options, ...own, '--quiet', 'update'], work)
    await download(work, [...options, ...own])
  }
  const archives = (await readdir(work)).filter((name) => name.endsWith('.deb'))
  for (const archive of archives) await run('dpkg', ['-x', join(work, archive), join(work, 'root')])
}

async function download(work: string, options: string[]): Promise<void> {
  const { stdout } = await run('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Abbrev}\n'])
  const installed = new Set(
    stdout
      .split('\n')
      .filter((line) => / .i/.test(line))
      .map((line) => line.split(' ')[0] ?? ''),
  )
  let failure: unknown
  for (const { name } of PACKAGES) {
    try {
      const packages = await missingPackages(name, installed, work, options)
      await apt('apt-get', [...options, '--quiet', 'download', ...packages], work)
      return
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

/** The package and everything it depends on, directly or not, that is not installed. */
async function missingPackages(
  name: string,
  installed: ReadonlySet<string>,
  work: string,
  options: string[],
): Promise<string[]> {
  const wanted = new Set([name])
  let fresh = [name]
  while (fresh.length > 0) {
    const { stdout } = await apt('apt-cache', [...options, '--important', 'depends', ...fresh], work)
    const depended = [...stdout.matchAll(/^ {2}(?:Pre)?Depends: ([a-z0-9][a-z0-9.+-]*)$/gm)]
    fresh = [...new Set(depended.map((match) => match[1] ?? ''))].filter(
      (dependency) => !installed.has(dependency) && !wanted.has(dependency),
    )
    for (const dependency of fresh) wanted.add(dependency)
  }
  return [...wanted]
}

function apt(command: string, args: string[], cwd: string): Promise<{ stdout: string }> {
  return run(command, args, {
    cwd,
    timeout: UPDATE_TIMEOUT_MS,
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 16 * 1024 * 1024,
  })
}

async function keepServerOnly(work: string): Promise<void> {
  const out = join(work, 'out')
  await mkdir(join(out, 'bin'), { recursive: true })
  await mkdir(join(out, 'lib'))
  const files = await readdir(join(work, 'root'), { recursive: true, withFileTypes: true })
  for (const file of files) {
    const path = join(file.parentPath, file.name)
    if (/\.so(\.[0-9.]+)?$/.test(file.name)) await rename(path, join(out, 'lib', file.name))
    else if (PACKAGES.some(({ binary }) => binary === file.name) && file.isFile()) {
      await rename(path, join(out, 'bin', 'redis-server'))
    }
  }
  const launcher = join(out, 'redis-server')
  await writeFile(launcher, LAUNCHER)
  await chmod(launcher, 0o755)
}

/** A rename is whole or not at all; when another process was first, its copy is as good as ours. */
async function publish(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  }
}
