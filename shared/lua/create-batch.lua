-- Writes the record of a new batch, once per idempotency key, and makes its first chunk, which validates the input. The
-- input file can't be deleted until the batch ends. Safe to send twice.
-- KEYS: batch, chunk v, window, idempotency, index, due, input file, keys of its lines
-- ARGV: now_ms ('' = Redis TIME), id, tenant, body hash ('' = no idempotency key), idempotency TTL ms beyond the deadline,
--       ms it may take, ms after which a queue entry that nobody claimed is looked for, then field, value, ... of the record
-- Output: {'created', created ms} | {'replayed', id} | {'mismatch'} | {'no_file'} | {'wrong_purpose'} | {'credentials_erased'}
local batch, chunk, window, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local index, due, file, file_keys = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, tenant, body_hash, window_ms = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
-- @include now
local made = redis.call('HGET', batch, 'created')
if made then return { 'created', tonumber(made) } end

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

if body_hash ~= '' then redis.call('SET', idem, id .. ' ' .. body_hash, 'PX', window_ms + tonumber(ARGV[5])) end
redis.call('HINCRBY', file, 'uses', 1)
redis.call('HSET', batch, 'status', 'validating', 'tenant', tenant, 'created', now, 'deadline', now + window_ms,
  'total', 0, 'cursor', 0, 'settled', 0, 'inflight', 0, 'live', 1, 'logs', 0, 'chunks', 0, unpack(ARGV, 8))
redis.call('ZADD', index, now, id)
redis.call('ZADD', due, now + window_ms, id)
redis.call('HSET', chunk, 'generation', 1, 'open', 1, 'width', 0)
redis.call('ZADD', window, now + tonumber(ARGV[7]), id .. ' v')
return { 'created', now }
