/** A protection taken away, and the tests that must turn red. */
export type Mutant = { name: string; changes: { file: string; from: string; to: string }[]; tests: string[] }

/** What `npm run mutants` takes away, one at a time. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'outbound guard off: a socket is opened to any address',
    changes: [
      {
        file: 'worker/connector.ts',
        from: 'policy === null || policy.isAddressAllowed(address, target)',
        to: 'policy === null || address !== String(target.port)',
      },
    ],
    tests: ['test/worker/outbound.test.ts'],
  },
  {
    name: 'early guard off: a URL of a client may name any address',
    changes: [{ file: 'shared/egress.ts', from: '    checkHost(parsed, param)\n', to: '' }],
    tests: ['test/shared/egress.test.ts', 'test/e2e/client-urls-are-safe.test.ts'],
  },
  {
    name: 'erase off: credentials outlive their job',
    changes: [
      {
        file: 'shared/jobs/settle.ts',
        from: "const LASTING = ['tenant',",
        to: "const LASTING = ['cred', 'tenant',",
      },
    ],
    tests: ['test/shared/jobs.test.ts', 'test/e2e/sealed-and-erased.test.ts'],
  },
  {
    name: 'claim check off: a job that runs is given away again',
    changes: [
      {
        file: 'shared/lua/claim-job.lua',
        from: "then return { 'held' } end",
        to: 'then status = record[1] end',
      },
    ],
    tests: ['test/shared/jobs.test.ts'],
  },
  {
    name: 'customer check off: whoever knows an id is called with the key of another customer',
    changes: [
      {
        file: 'shared/credentials/named-credentials.ts',
        from: '!stored || stored.customer !== customer',
        to: '!stored',
      },
    ],
    tests: ['test/api/credentials.test.ts', 'test/e2e/stored-credentials.test.ts'],
  },
  {
    name: 'chunk bound off: plans of a stored credential outlive its rotation',
    changes: [
      {
        file: 'shared/batches/batch-lines.ts',
        from: 'namesCredential(under) ? credentials?.plans : dependencies.plans',
        to: 'dependencies.plans',
      },
    ],
    tests: ['test/worker/chunk-credentials.test.ts'],
  },
  {
    name: 'scopes off: a key for reading submits',
    changes: [{ file: 'api/plugins/auth.ts', from: '    requireScope(principal, request)\n', to: '' }],
    tests: ['test/e2e/all-routes.test.ts'],
  },
  {
    name: 'reach off: the admin of one tenant makes keys of another',
    changes: [
      { file: 'api/admin.ts', from: '!principal.isMaster && id !== tenant', to: "principal.tenant === ''" },
    ],
    tests: ['test/api/admin.test.ts'],
  },
  {
    name: 'models off: a key for some models asks for any',
    changes: [
      {
        file: 'shared/plans/plan.ts',
        from: 'if (allowed && !isConfigGiven) requireAsked',
        to: "if (allowed && model === '') requireAsked",
      },
    ],
    tests: ['test/api/allowed.test.ts', 'test/worker/batch-validation.test.ts'],
  },
  {
    name: 'owner check off: whoever knows an id reads the job',
    changes: [
      {
        file: 'shared/jobs/jobs.ts',
        from: 'return view?.tenant === tenant ? view : null',
        to: "return tenant === '' ? null : view",
      },
    ],
    tests: ['test/shared/jobs.test.ts'],
  },
  {
    name: 'seal off: values lie in Redis as they are',
    changes: [
      {
        file: 'shared/seal.ts',
        from: '      seal(field: string, value: string | Uint8Array, packFrom = Number.POSITIVE_INFINITY): Buffer {\n',
        to: '      seal(field: string, value: string | Uint8Array, packFrom = Number.POSITIVE_INFINITY): Buffer {\n        if (field) return Buffer.from(value as string)\n',
      },
      {
        file: 'shared/seal.ts',
        from: '      open(field: string, envelope: Buffer): Buffer {\n',
        to: '      open(field: string, envelope: Buffer): Buffer {\n        if (field) return envelope\n',
      },
    ],
    tests: ['test/shared/jobs.test.ts', 'test/e2e/sealed-and-erased.test.ts'],
  },
  {
    name: 'keys mixed up: every call of a job has the first key',
    changes: [
      {
        file: 'worker/attempt.ts',
        from: 'claim.bundles?.[claim.plan.deployments.indexOf(deployment)]',
        to: 'claim.bundles?.[Math.min(0, claim.plan.deployments.indexOf(deployment))]',
      },
    ],
    tests: ['test/e2e/keys-never-cross.test.ts', 'test/e2e/fallbacks.test.ts'],
  },
  {
    name: 'credentials forgotten: two accounts of a cloud share one state',
    changes: [
      {
        file: 'shared/settings/deployment-ids.ts',
        from: '    ...(bundle.auth ? [sorted(bundle.auth)] : []),\n',
        to: '',
      },
    ],
    tests: ['test/shared/provider-auth.test.ts'],
  },
  {
    name: 'stream forgotten: what a client has seen a part of is begun again',
    changes: [
      {
        file: 'shared/jobs/claims.ts',
        from: "hasStreamed: text('streamed') !== null",
        to: "hasStreamed: text('streamed') === 'never'",
      },
    ],
    tests: ['test/e2e/streaming.test.ts'],
  },
  {
    name: 'stream open to all: a claim that was replaced goes on telling',
    changes: [
      {
        file: 'shared/lua/append-stream.lua',
        from: "if redis.call('HGET', job, 'token') ~= ARGV[1] then return 'fenced' end\n",
        to: '',
      },
    ],
    tests: ['test/shared/job-streams.test.ts'],
  },
  {
    name: 'settled twice: a line of a batch ends again with each result',
    changes: [
      {
        file: 'shared/lua/settle-lines.lua',
        from: "word = redis.call('SETBIT', done, ARGV[at], 1) == 0 and 's' or 'e'",
        to: "word = redis.call('SETBIT', done, ARGV[at], 1) >= 0 and 's' or 'e'",
      },
    ],
    tests: ['test/shared/batches.test.ts', 'test/shared/batch-properties.test.ts'],
  },
  {
    name: "line's key kept: credentials of a settled line can still be opened",
    changes: [
      {
        file: 'shared/lua/settle-lines.lua',
        from: "string.rep('\\0', key_bytes)",
        to: "string.rep('\\1', key_bytes)",
      },
    ],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'chunk open to all: a claim that was replaced goes on starting calls',
    changes: [
      {
        file: 'shared/lua/start-lines.lua',
        from: "if redis.call('HGET', chunk, 'token') ~= ARGV[2] then return string.rep('f', count) end\n",
        to: '',
      },
    ],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'batch line uncut: credentials in the body of a line rest in its text',
    changes: [
      {
        file: 'shared/batches/line-credentials.ts',
        from: '        if (isCutOut(careOf(member.name), text, member)) secrets.push(member)\n',
        to: '',
      },
    ],
    tests: ['test/shared/line-credentials.test.ts'],
  },
  {
    name: "batch credentials mixed: a line with its own has its batch's as well",
    changes: [
      {
        file: 'shared/batches/batch-lines.ts',
        from: 'Object.keys(own).some(isCredential) ? withoutBundle(defaults) : defaults',
        to: 'Object.keys(own).some(isCredential) ? { ...defaults } : defaults',
      },
    ],
    tests: ['test/shared/batch-lines.test.ts'],
  },
  {
    name: 'file owner check off: whoever knows an id reads the file',
    changes: [
      {
        file: 'shared/files/files.ts',
        from: 'return view?.tenant === tenant ? view : null',
        to: "return tenant === '' ? null : view",
      },
    ],
    tests: ['test/api/batch-output.test.ts'],
  },
  {
    name: 'batch owner check off: whoever knows an id reads the batch',
    changes: [
      {
        file: 'shared/batches/batches.ts',
        from: 'return view?.tenant === tenant ? view : null',
        to: "return tenant === '' ? null : view",
      },
    ],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'batch credentials kept: what lay under all lines outlives their batch',
    changes: [{ file: 'shared/lua/end-batch.lua', from: "batch, 'cred', 'live'", to: "batch, 'live'" }],
    tests: ['test/shared/batches.test.ts'],
  },
  {
    name: 'endpoint owner check off: whoever knows an id has the webhook endpoint',
    changes: [
      {
        file: 'shared/webhooks/webhook-endpoints.ts',
        from: '    if (!ids.isOwnWebhookEndpointId(tenant, id)) return null\n',
        to: '',
      },
      {
        file: 'shared/webhooks/webhook-endpoints.ts',
        from: 'return record?.tenant === tenant ? record : null',
        to: 'return record',
      },
    ],
    tests: ['test/shared/webhook-endpoints.test.ts'],
  },
  {
    name: 'rotation without an end: secrets sign for ever',
    changes: [
      {
        file: 'shared/webhooks/webhook-endpoint-record.ts',
        from: 'untilMs === null || untilMs > nowMs',
        to: 'untilMs === null || nowMs > 0',
      },
    ],
    tests: ['test/shared/webhook-endpoints.test.ts'],
  },
  {
    name: 'headers go anywhere: an update sends those of one host to another',
    changes: [
      {
        file: 'shared/webhooks/webhook-endpoints.ts',
        from: '      requireHeaders(record, settings)\n',
        to: '',
      },
    ],
    tests: ['test/api/webhook-endpoints.test.ts'],
  },
  {
    name: 'scope check off: a key that reads submits as well',
    changes: [{ file: 'api/plugins/auth.ts', from: '|| !scopes.has(needed)', to: '|| scopes.size === 0' }],
    tests: ['test/api/auth.test.ts'],
  },
  {
    name: 'reach off: an admin key looks after any tenant',
    changes: [
      {
        file: 'api/admin.ts',
        from: '!principal.isMaster && id !== tenant',
        to: 'id === "" && tenant === id',
      },
    ],
    tests: ['test/api/admin.test.ts'],
  },
  {
    name: 'end of tenants off: keys of one that is disabled work',
    changes: [
      {
        file: 'api/key-cache.ts',
        from: '(found.tenant?.disabled_at ?? null) === null',
        to: '(found.tenant?.disabled_at ?? null) !== 0',
      },
    ],
    tests: ['test/api/admin.test.ts'],
  },
  {
    name: 'model check off: a key for some models asks for any',
    changes: [
      {
        file: 'shared/plans/plan.ts',
        from: '  if (allowed && !isConfigGiven) requireAsked(allowed, model, fallbacks)\n',
        to: '',
      },
    ],
    tests: ['test/api/allowed.test.ts'],
  },
  {
    name: 'caller forgotten: a lost call finds the job of another tenant, key or customer',
    changes: [
      {
        file: 'api/same-call.ts',
        from: 'JSON.stringify([tenant, keyId, customer, url,',
        to: 'JSON.stringify([tenant === keyId, customer === tenant, url,',
      },
    ],
    tests: ['test/api/lost-calls.test.ts'],
  },
  {
    name: "retry without credentials: a job of a client's own key runs on the operator's",
    changes: [
      {
        file: 'api/job-retry.ts',
        from: 'if (credential !== undefined && !hasCredential(fields)) {',
        to: "if (credential === '' && !hasCredential(fields)) {",
      },
    ],
    tests: ['test/api/job-control.test.ts'],
  },
  {
    name: 'retry to another place: a fresh key goes where the old one never did',
    changes: [
      {
        file: 'shared/batches/line-fields.ts',
        from: 'isPlace(name) && !Object.hasOwn(given, name)',
        to: "isPlace(name) && name === ''",
      },
    ],
    tests: ['test/api/job-control.test.ts'],
  },
  {
    name: "stored key kept for any base: a change sends it to the caller's",
    changes: [
      {
        file: 'shared/credentials/credential-checks.ts',
        from: 'if (isKeyed && !names.some(isKey)) {',
        to: 'if (isKeyed && names.length === 0) {',
      },
      {
        file: 'shared/credentials/credential-checks.ts',
        from: "    throw new InvalidRequestError(message, first, 'credentials_required')\n  }\n  return given\n",
        to: "    throw new InvalidRequestError(message, first, 'credentials_required')\n  }\n  return { ...fields, ...given }\n",
      },
    ],
    tests: ['test/api/credentials.test.ts'],
  },
  {
    name: 'announcement kept: a result is delivered of a job that was deleted',
    changes: [
      { file: 'shared/jobs/job-control.ts', from: '      await redis.zrem(keys.announce, id)\n', to: '' },
    ],
    tests: ['test/worker/announce.test.ts'],
  },
  {
    name: 'entry dropped: jobs for which there was no slot are nobody’s for a while',
    changes: [
      {
        file: 'worker/entries.ts',
        from: "return taken.every((one) => one.status === 'fulfilled' && one.value)",
        to: 'return taken.length > 0',
      },
    ],
    tests: ['test/worker/entries.test.ts'],
  },
  {
    name: 'told to anybody: the fields of an ended job are taken for those of any tenant',
    changes: [
      {
        file: 'shared/jobs/jobs.ts',
        from: '    return view?.tenant === tenant ? view : null\n',
        to: '    return tenant === null ? null : view\n',
      },
    ],
    tests: ['test/shared/end-message.test.ts', 'test/shared/jobs.test.ts'],
  },
]
