import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type Plugin } from 'vite'
import { inject } from 'vitest'
import { eventually } from './eventually.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What a process loads when it is asked for; it stays where npm put it. */
const LOADED_LATER = [
  'pino',
  'prom-client',
  'bullmq-otel',
  'msgpackr-extract',
  '@aws-sdk/client-s3',
  '@ai-sdk/amazon-bedrock',
  '@ai-sdk/anthropic',
  '@ai-sdk/google',
  '@ai-sdk/provider',
  '@bull-board/api',
  '@bull-board/fastify',
  '@fastify/swagger',
  '@fastify/swagger-ui',
  '@opentelemetry/api',
  '@opentelemetry/resources',
  '@opentelemetry/sdk-node',
]

let packed: Promise<string> | null = null

/**
 * A process's entry, `api` or `worker`, as one file with nearly all that it loads at its start: finding 800 modules is more
 * than half of what starting a process costs, and a run starts hundreds. Made of the sources once in a run, by the
 * test process that needs it first. `TEST_PACKED=0` starts the sources themselves, as test/api/main.test.ts and test/cli do.
 */
export async function entryOf(name: 'api' | 'worker'): Promise<string> {
  if (process.env['TEST_PACKED'] === '0') return `${name}/main.ts`
  packed ??= packOnce(inject('runFolder'))
  return join(await packed, `${name}.mjs`)
}

async function packOnce(runFolder: string): Promise<string> {
  const folder = join(runFolder, 'packed')
  const outcome = join(runFolder, 'packed-outcome')
  const isFirst = await mkdir(folder).then(
    () => true,
    () => false,
  )
  if (isFirst) {
    const fault = await pack(runFolder, folder).then(() => 'none', String)
    await writeFile(outcome, fault)
  }
  const fault = await eventually('the processes are packed', () => readFile(outcome, 'utf8'))
  if (fault !== 'none') throw new Error(`The processes can't be packed: ${fault}`)
  return folder
}

async function pack(runFolder: string, folder: string): Promise<void> {
  // Whatever is loaded later is looked for from there.
  await symlink(join(ROOT, 'node_modules'), join(runFolder, 'node_modules'), 'junction')
  await build({
    root: ROOT,
    configFile: false,
    logLevel: 'error',
    plugins: [ownPlaces()],
    ssr: { noExternal: true, external: LOADED_LATER },
    build: {
      ssr: true,
      target: 'node24',
      outDir: folder,
      copyPublicDir: false,
      rolldownOptions: {
        input: { api: join(ROOT, 'api/main.ts'), worker: join(ROOT, 'worker/main.ts') },
        output: { entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' },
      },
    },
  })
}

/** Our modules read files that lie beside them: each goes on to know its own place. */
function ownPlaces(): Plugin {
  return {
    name: 'own-places',
    transform: {
      filter: { code: 'import.meta.url', id: { exclude: /\/node_modules\// } },
      handler: (code, id) => code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href)),
    },
  }
}
