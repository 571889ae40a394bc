import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { parseConfig } from '../shared/config.ts'

const FOLDER = new URL('../docs/kubernetes/', import.meta.url)
const Container = z.object({
  command: z.array(z.string()).optional(),
  ports: z.array(z.object({ name: z.string() })),
  envFrom: z.array(z.looseObject({})).optional(),
  livenessProbe: z.looseObject({ httpGet: z.object({ port: z.string() }).optional() }),
})
const Resource = z.object({
  kind: z.string(),
  metadata: z.object({ name: z.string() }),
  data: z.record(z.string(), z.string()).optional(),
  stringData: z.record(z.string(), z.string()).optional(),
  spec: z
    .looseObject({
      selector: z.union([
        z.object({ matchLabels: z.record(z.string(), z.string()) }),
        z.record(z.string(), z.string()),
      ]),
      template: z
        .object({
          metadata: z.object({ labels: z.record(z.string(), z.string()) }),
          spec: z.looseObject({ containers: z.tuple([Container]) }),
        })
        .optional(),
    })
    .partial()
    .optional(),
})

const resources = ['secrets.yaml', 'redis.yaml', 'gateway.yaml'].flatMap((file) =>
  parseAllDocuments(readFileSync(new URL(file, FOLDER), 'utf8')).map((document) => {
    expect(document.errors).toEqual([])
    return Resource.parse(document.toJS())
  }),
)
const named = (kind: string, name: string) =>
  resources.find((one) => one.kind === kind && one.metadata.name === name)

test('the Kubernetes example holds settings that both processes start with', () => {
  const settings = named('ConfigMap', 'gateway')?.data ?? {}
  const secrets = named('Secret', 'gateway')?.stringData ?? {}
  const values = {
    GATEWAY_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
    GATEWAY_ID_SECRET: 'x'.repeat(32),
  }
  expect(Object.keys(secrets)).toEqual(expect.arrayContaining(Object.keys(values)))
  const config = parseConfig({ ...settings, ...secrets, ...values })
  expect(config.redis.url).toContain(named('Service', 'redis')?.metadata.name)
  const known = readFileSync(new URL('../shared/config.ts', import.meta.url), 'utf8')
  for (const name of [...Object.keys(settings), ...Object.keys(secrets)]) {
    if (!name.startsWith('AWS_')) expect(known).toContain(`  ${name}:`)
  }
})

test('what it starts is there, and is found by its labels', () => {
  for (const { spec, metadata } of resources) {
    if (!spec?.template) continue
    const [container] = spec.template.spec.containers
    expect(spec.selector, metadata.name).toEqual({ matchLabels: spec.template.metadata.labels })
    const [, file] = container.command ?? []
    if (file) expect(existsSync(new URL(`../${file}`, import.meta.url)), file).toBe(true)
    const probed = container.livenessProbe.httpGet?.port
    if (probed) expect(container.ports.map(({ name }) => name)).toContain(probed)
  }
  const labels = resources.map(({ spec }) => spec?.template?.metadata.labels)
  for (const { spec, kind, metadata } of resources) {
    if (kind === 'Service') expect(labels, metadata.name).toContainEqual(spec?.selector)
  }
})
