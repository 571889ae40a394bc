-- Writes the record of a new batch, once per idempotency key, within the limits of its tenant and customer, and makes its first
-- chunk, which validates the input. The input file can't be deleted until the batch ends. Safe to send twice.
-- KEYS: batch, chunk v, window, idempotency, index, due, input file, keys of its lines
-- ARGV: now_ms ('' = Redis TIME), id, tenant, body hash ('' = no idempotency key), idempotency TTL ms beyond the deadline,
--       ms it may take, ms after which a queue entry that nobody claimed is looked for, prefix of accounts, owner, accounts it counts
--       in (1 | 2), limits as JSON ('' = none), then field, value, ... of the record
-- Output: {'created', created ms, requests of the minute: tenant's, customer's} | {'replayed', id} | {'mismatch'} | {'no_file'} |
--         {'wrong_purpose'} | {'credentials_erased'} |
--         {'refused', 'tenant' | 'customer', limit, ms to wait, requests of the minute: tenant's, customer's, ms of now}
local batch, chunk, window, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local index, due, file, file_keys = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, tenant, body_hash, window_ms = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local owner, accounts_count = ARGV[9], ARGV[10]
-- @include now
-- @include account
-- @include admit
local made = redis.call('HGET', batch, 'created')
if made then return { 'created', tonumber(made), 0, 0 } end

local known = body_hash ~= '' and redis.call('GET', idem)
if known then
  local known_id, known_hash = string.match(known, '^(%S+) (%S+)$')
  if known_hash ~= body_hash then return { 'mismatch' } end
  return { 'replayed', known_id }
end
local input = redis.call('HMGET', file, 'tenant', 'purpose', 'credentials', 'expires')
if input[1] ~= tenant or (tonumber(input[4]) or now + 1) <= now then return { 'no_file' } end
if input[2] ~= 'batch' then return { 'wrong_purpose' } end
if input[3] == '1' and redis.call('EXISTS', file_keys) == 0 then return { 'credentials_erased' } end

local accounts = accounts_of(ARGV[8], tenant, owner, accounts_count)
local limits = ARGV[11] ~= '' and cjson.decode(ARGV[11]) or {}
local refusal = refused(accounts, limits, function() return false end, 0, 0)
if refusal then return refusal end
for _, one in ipairs(accounts) do
  one.count = one.count + 1
  save_account(one)
end
if body_hash ~= '' then redis.call('SET', idem, id .. ' ' .. body_hash, 'PX', window_ms + tonumber(ARGV[5])) end
redis.call('HINCRBY', file, 'uses', 1)
redis.call('HSET', batch, 'status', 'validating', 'tenant', tenant, 'created', now, 'deadline', now + window_ms,
  'total', 0, 'cursor', 0, 'settled', 0, 'inflight', 0, 'live', 1, 'logs', 0, 'chunks', 0, 'owner', owner, 'accounts',
  accounts_count, unpack(ARGV, 12))
redis.call('ZADD', index, now, id)
redis.call('ZADD', due, now + window_ms, id)
redis.call('HSET', chunk, 'generation', 1, 'open', 1, 'width', 0)
redis.call('ZADD', window, now + tonumber(ARGV[7]), id .. ' v')
return { 'created', now, counted(accounts) }
