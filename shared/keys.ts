/**
 * Every Redis key and channel, spelt here and nowhere else: Lua gets them as arguments.
 *
 * Hash tags: all of a job's keys, the owners' lists and the queues of one shard share one (`{s0}`), so that one script can
 * touch them in a cluster too. Deployment state lies in its owner's own slot and is never part of a job's script.
 * No key holds a secret, a model name or a customer's name: ids and keyed fingerprints only.
 *
 * @param tag Of the shard; with more than one of them `shardKeys` chooses it.
 */
export function createKeys(prefix: string, tag = 's0') {
  const shard = `${prefix}:{${tag}}`
  return {
    prefix,
    /** BullMQ's prefix: its keys are `<prefix>:<queue>:...`. */
    queuePrefix: shard,
    /** List of BullMQ's: entries of a queue that nobody has taken, the next one at its end. */
    queueWaiting: (queue: string) => `${shard}:${queue}:wait`,
    job: (id: string) => `${shard}:job:${id}`,
    /** Stream of a job's answer as it was told, piece by piece, and the channel that each piece goes out on. */
    stream: (id: string) => `${shard}:stream:${id}`,
    streamChannel: (id: string) => `${prefix}:streamed:${id}`,
    idempotency: (fingerprint: string) => `${shard}:idem:${fingerprint}`,
    /** Sorted set of a tenant's job ids by creation, for lists. */
    index: (tenant: string) => `${shard}:index:${tenant}`,

    /** Sorted set of what is in BullMQ or running, by when its queue entry, or its claim's lease, is overdue. */
    window: `${shard}:window`,
    /** Hash tenant -> how many of the window are its own. */
    busy: `${shard}:busy`,
    /** Round robin: tenants with waiting jobs; per tenant the owners with waiting jobs; per owner its jobs. */
    tenants: `${shard}:tenants`,
    owners: (tenant: string) => `${shard}:owners:${tenant}`,
    ownersPrefix: `${shard}:owners:`,
    waiting: (tenant: string, owner: string) => `${shard}:wait:${tenant}:${owner}`,
    waitingPrefix: `${shard}:wait:`,
    jobPrefix: `${shard}:job:`,
    /** String: slots of all live workers, kept by the sweeper. */
    slots: `${shard}:slots`,

    /** Sorted sets of job ids by milliseconds: waiting for a time or a limit; ended and to be announced. */
    parked: `${shard}:parked`,
    announce: `${shard}:announce`,
    /** When the sweeper must look at a job: at its deadline, then at the end of its retention. */
    due: `${shard}:due`,

    /** Sorted set worker id -> last heartbeat; hash worker id -> slots. */
    workers: `${shard}:workers`,
    workerSlots: `${shard}:worker-slots`,
    /** String with a TTL: there since a worker last got ahead with anything. */
    progress: `${shard}:progress`,
    /** Lease of the one sweeper, and the mark of the last rewrite of Redis' append-only file. */
    sweeper: `${shard}:sweeper`,
    aofRewrite: `${shard}:aof-rewrite`,

    delivery: (id: string) => `${shard}:delivery:${id}`,
    /** Sorted set of delivery ids by when they are given up, then by when they are forgotten. */
    deliveriesDue: `${shard}:deliveries-due`,
    /** Sorted sets by creation: a tenant's deliveries, and those to one endpoint. */
    deliveryIndex: (tenant: string) => `${shard}:deliveries:${tenant}`,
    endpointDeliveries: (id: string) => `${shard}:endpoint-deliveries:${id}`,
    /**
     * Where deliveries go (an endpoint, or a job's own URL by a fingerprint): how it behaves; what is on its way there; what
     * waits, by when it is due; and all targets by when the next delivery can be sent.
     */
    target: (id: string) => `${shard}:target:${id}`,
    targetFlight: (id: string) => `${shard}:target-flight:${id}`,
    targetDue: (id: string) => `${shard}:target-due:${id}`,
    targetsDue: `${shard}:targets-due`,
    /** A webhook endpoint; a tenant's, by creation. */
    endpoint: (id: string) => `${shard}:endpoint:${id}`,
    endpointIndex: (tenant: string) => `${shard}:endpoints:${tenant}`,
    /** An event that was told; a tenant's, by creation. */
    event: (id: string) => `${shard}:event:${id}`,
    eventIndex: (tenant: string) => `${shard}:events:${tenant}`,

    /** What is counted of a tenant, and of a customer by its owner id: jobs, bytes, requests, money. */
    account: (tenant: string) => `${shard}:account:${tenant}`,
    customerAccount: (tenant: string, owner: string) => `${shard}:account:${tenant}:${owner}`,
    accountPrefix: `${shard}:account:`,
    /** Hash: how many jobs at once; of a tenant, of a customer (`tenant owner`), of each customer (`tenant *`). */
    concurrency: `${shard}:concurrency`,
    /** Hash: micro USD a day, of a tenant and its customers in the same way: what lines of batches go by. */
    budgets: `${shard}:budgets`,
    /** Hash owner -> how many of its jobs were let in, which decides whose turn is next: high, normal or low. */
    turns: `${shard}:turns`,
    /** List of jobs of sync calls with one keyed fingerprint, for a client that lost the connection and asks again. */
    orphans: (fingerprint: string) => `${shard}:orphans:${fingerprint}`,
    /** Sorted set of sync jobs that may outlive their caller, by until when one is taken to wait for them. */
    attended: `${shard}:attended`,
    /** List of what ended jobs used, not yet summed up; hash of a tenant's sums of one UTC day. */
    usageNews: `${shard}:usage-news`,
    usageOf: (tenant: string, day: string) => `${shard}:usage:${tenant}:${day}`,
    usagePrefix: `${shard}:usage:`,
    usageDays: `${shard}:usage-days`,

    /** A stored credential; a tenant's, by creation. */
    credential: (id: string) => `${shard}:credential:${id}`,
    credentialIndex: (tenant: string) => `${shard}:credentials:${tenant}`,

    /** A file: its record; a random key for each line whose credentials are stored. */
    file: (id: string) => `${shard}:file:${id}`,
    fileKeys: (id: string) => `${shard}:file-keys:${id}`,
    /** When a deleted file was created: a list that goes on after it finds its place. */
    fileGone: (tenant: string, id: string) => `${shard}:file-gone:${tenant}:${id}`,
    /** Sorted set of a tenant's file ids by creation; those of all by when the sweeper must look at them; hash tenant -> bytes. */
    fileIndex: (tenant: string) => `${shard}:files:${tenant}`,
    filesDue: `${shard}:files-due`,
    filesUse: `${shard}:files-use`,

    /** A batch: its record; what is known of each line in flight or parked; which lines are settled, and where their results lie. */
    batch: (id: string) => `${shard}:batch:${id}`,
    batchChunk: (id: string, chunk: string) => `${shard}:batch-chunk:${id}:${chunk}`,
    batchLines: (id: string) => `${shard}:batch-lines:${id}`,
    batchDone: (id: string) => `${shard}:batch-done:${id}`,
    batchOrder: (id: string) => `${shard}:batch-order:${id}`,
    /** String: a random key for each line's credentials, zeroed when the line settles. */
    batchKeys: (id: string) => `${shard}:batch-keys:${id}`,
    /** Sorted sets: lines that wait for a time; batches by when the first of these is due. */
    batchParked: (id: string) => `${shard}:batch-parked:${id}`,
    batchParkedDue: `${shard}:batch-parked-due`,
    /** As `window`, `busy`, `tenants`, `owners` and `waiting` are for jobs: chunks, lines in flight, batches with lines to run. */
    batchWindow: `${shard}:batch-window`,
    batchBusy: `${shard}:batch-busy`,
    batchTenants: `${shard}:batch-tenants`,
    batchOwners: (tenant: string) => `${shard}:batch-owners:${tenant}`,
    batchWaiting: (tenant: string, owner: string) => `${shard}:batch-wait:${tenant}:${owner}`,
    /** What a script puts a batch's id, or a tenant's, behind: records, chunks, parked lines, owner rings, waiting sets. */
    batchPrefixes: ['batch:', 'batch-chunk:', 'batch-parked:', 'batch-owners:', 'batch-wait:'].map(
      (name) => `${shard}:${name}`,
    ),
    batchIndex: (tenant: string) => `${shard}:batch-index:${tenant}`,
    /** When the sweeper must look at a batch: at its deadline, then at the end of its retention. */
    batchDue: `${shard}:batch-due`,
    /** Says that lines of a batch settled, or that it changed its state. */
    batchChannel: (id: string) => `${shard}:batch-news:${id}`,
    /** String: there while the webhook of a batch that was told of its progress is told no more of it. */
    batchTold: (id: string) => `${shard}:batch-told:${id}`,
    /** Says that no new line of a batch is to be started. */
    batchStopChannel: `${shard}:batch-stop`,

    /** String that is written before a wait for Redis' disk: the wait covers it and all that came before. */
    fsyncMark: `${shard}:fsync`,

    settledChannel: `${shard}:settled`,
    /** Tells one API process the whole of the jobs that it holds a line for. */
    replyChannel: (process: string) => `${shard}:reply:${process}`,
    replyPrefix: `${shard}:reply:`,
    cancelChannel: `${shard}:cancel`,
    /** Says which jobs, of whatever shard, were handed a place at a full deployment. */
    wakeChannel: `${prefix}:wake`,

    /** Cooldown and usage of one deployment, and the pause of one key, in their owner's slot. */
    deployment: (ownerId: string, id: string) => `${prefix}:{o-${ownerId}}:dep:${id}`,
    /** Hash sixtieth of the window -> requests and tokens. */
    usageLog: (ownerId: string, id: string) => `${prefix}:{o-${ownerId}}:use:${id}`,
    /** Sorted sets: calls in flight by when their lease runs out; jobs that wait for a place, by arrival. */
    flight: (ownerId: string, id: string) => `${prefix}:{o-${ownerId}}:fly:${id}`,
    line: (ownerId: string, id: string) => `${prefix}:{o-${ownerId}}:line:${id}`,
    credentialPause: (ownerId: string, keyId: string) => `${prefix}:{o-${ownerId}}:key:${keyId}`,

    /** String: how many shards there are. */
    shards: `${prefix}:{keys}:shards`,
    /** Gateway keys: hash of key hash -> record, and the channel that says they changed. */
    apiKeys: `${prefix}:{keys}:api-keys`,
    apiKeysChannel: `${prefix}:{keys}:changed`,
    /** Hash of a key's id -> its hash; sorted set of a tenant's key ids by creation. */
    apiKeyHashes: `${prefix}:{keys}:hashes`,
    apiKeysOf: (tenant: string) => `${prefix}:{keys}:of:${tenant}`,
    /** Hash of tenant -> its record, as JSON, beside `concurrency`, which is written with it; all tenants, by creation. */
    tenantRecords: `${shard}:tenant-records`,
    tenantIndex: `${shard}:tenant-index`,
  }
}

export type Keys = ReturnType<typeof createKeys>
