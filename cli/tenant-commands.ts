import type { Command } from 'commander'
import type { KeyOptions } from './keys.ts'
import type { Environment } from './settings.ts'
import type { TenantOptions } from './tenants.ts'

type Terminal = { environment: Environment; print: (text: string) => void }

/** Adds the commands that work on the Redis of a gateway: its tenants, and their keys. */
export function addTenantCommands(program: Command, terminal: Terminal): void {
  addKeys(program.command('keys').description("tenants' gateway keys"), terminal)
  addTenants(program.command('tenants').description('who has gateway keys, and what they may have'), terminal)
}

// What a command alone needs is loaded with it.
const loadKeys = () => import('./keys.ts')
const loadTenants = () => import('./tenants.ts')

function addKeys(keys: Command, terminal: Terminal): void {
  keys
    .command('create')
    .description('make a key and print it; it is shown only here')
    .requiredOption('--tenant <name>', 'who it belongs to: 1 to 64 letters, digits, "_" or "-"')
    .option('--name <name>', 'what you call it in lists')
    .option('--expires-in <time>', 'how long it works, such as 30d or 12h (default: until it is revoked)')
    .option(
      '--scope <scope>',
      'submit, read or admin; may be given again (default: submit and read)',
      gathered,
    )
    .option('--model <model>', 'may ask for this one only, or "gpt-4o*"; may be given again', gathered)
    .option('--endpoint <path>', 'may call this one only, as /v1/embeddings; may be given again', gathered)
    .action(async (options: KeyOptions) => (await loadKeys()).createKey(options, terminal))
  keys
    .command('list')
    .description('all keys, by id')
    .option('--tenant <name>', 'of this one only')
    .action(async (options: { tenant?: string }) => (await loadKeys()).listKeys(options, terminal))
  keys
    .command('revoke <id>')
    .description('end a key at once')
    .action(async (id: string) => (await loadKeys()).revokeKey(id, terminal))
}

const LIMITS = `
Limits: requests_per_minute, jobs_waiting, jobs_concurrent, bytes_stored, usd_per_day.
Retention: results_seconds, batches_seconds, files_seconds, events_seconds, deliveries_seconds (as 7d), results_bytes.
NAME=none is no such limit; NAME= takes the entry away.`

function addTenants(tenants: Command, terminal: Terminal): void {
  withSettings(tenants.command('create <id>').description('make a tenant and print it')).action(
    async (id: string, options: TenantOptions) => (await loadTenants()).createTenant(id, options, terminal),
  )
  tenants
    .command('list')
    .description('all tenants, newest first')
    .action(async () => (await loadTenants()).listTenants(terminal))
  tenants
    .command('show <id>')
    .description('print one as JSON')
    .action(async (id: string) => (await loadTenants()).showTenant(id, terminal))
  withSettings(
    tenants.command('set <id>').description('change what is given of a tenant, and print it'),
  ).action(async (id: string, options: TenantOptions) =>
    (await loadTenants()).setTenant(id, options, terminal),
  )
  tenants
    .command('disable <id>')
    .description('refuse its keys; what it has submitted goes on')
    .action(async (id: string) => (await loadTenants()).disableTenant(id, true, terminal))
  tenants
    .command('enable <id>')
    .description('take its keys again')
    .action(async (id: string) => (await loadTenants()).disableTenant(id, false, terminal))
}

function withSettings(command: Command): Command {
  return command
    .option('--name <name>', 'what you call it')
    .option('--limit <name=value>', 'what it may have at most; may be given again', gathered)
    .option('--each-customer', 'the limits are of each of its customers')
    .option('--customer <name>', 'the limits are of this one of its customers')
    .option('--retention <name=value>', 'how long things are kept; may be given again', gathered)
    .option('--durability <which>', 'fsync: on the disk of Redis before it counts as accepted; or default')
    .addHelpText('after', LIMITS)
}

function gathered(text: string, before: string[] = []): string[] {
  return [...before, text]
}
