-- The one move of a batch to a terminal state: its input was refused, or all its lines are settled. Erases credentials and what
-- was kept for running, makes the records of its output files, frees its input file, registers its event, and tells whoever
-- waits.
-- KEYS: those of a batch's step (include/batch-step), due, announce, input file, files of the tenant, files due, use of files, output
--       file, error file, keys of the input file's lines, webhook endpoints of the tenant
-- ARGV: now_ms ('' = Redis TIME), id, chunk, token, errors as JSON ('' = none: all lines must have an end), retention ms, ms output files are kept, channel,
--       channel of ends, ids of output and error file, their bytes (0 = none), their names, sealed, prefix of accounts
-- Output: 'ended' | 'fenced' | 'unsettled' (lines are left that have no end)
local unclaimed_ms = 0
-- @include now
-- @include batch-step
-- @include account
-- @include hold-lines
local due, announce, input, index, files_due, use = KEYS[15], KEYS[16], KEYS[17], KEYS[18], KEYS[19], KEYS[20]
if redis.call('HGET', chunk, 'token') ~= ARGV[4] then return 'fenced' end
local facts = redis.call('HMGET', batch, 'ending', 'settled', 'total', 'hook')
if ARGV[5] == '' and tonumber(facts[2]) < tonumber(facts[3]) then return 'unsettled' end

local status = facts[1] or (ARGV[5] == '' and 'completed' or 'failed')
if status == 'max_errors' or status == 'unreadable' then status = 'failed' end
if ARGV[5] ~= '' then redis.call('HSET', batch, 'errors', ARGV[5]) end
local kept = tonumber(ARGV[7])
for part = 0, 1 do
  local file, file_id, bytes = KEYS[21 + part], ARGV[10 + part], tonumber(ARGV[12 + part])
  if bytes > 0 then
    redis.call('HSET', file, 'tenant', tenant, 'purpose', 'batch_output', 'created', now, 'expires', now + kept, 'bytes', bytes,
      'frame', 0, 'uses', 0, 'source', 'batch', 'batch', id, 'part', part == 0 and 'output' or 'error', 'name', ARGV[14 + part])
    redis.call('ZADD', index, now, file_id)
    redis.call('ZADD', files_due, now + kept, file_id)
    redis.call('HINCRBY', use, tenant, bytes)
    redis.call('HSET', batch, part == 0 and 'output_file' or 'error_file', file_id)
  end
end
withdraw()
-- Of lines that nobody ended, since their input can't be read.
count_money(ARGV[16], -(tonumber(redis.call('HGET', batch, 'held')) or 0), 0)
redis.call('HSET', batch, 'status', status, 'ended', now, 'expires', now + tonumber(ARGV[6]))
redis.call('HDEL', batch, 'cred', 'live', 'logs', 'chunks', 'cursor', 'inflight', 'held')
redis.call('UNLINK', chunk, lines, done, order, line_keys, parked)
redis.call('ZREM', parked_due, id)
redis.call('ZREM', window, id .. ' ' .. number)
if redis.call('EXISTS', input) == 1 and redis.call('HINCRBY', input, 'uses', -1) == 0 then
  -- Its time may have passed while it was in use: it is looked at again now.
  local expires = redis.call('HGET', input, 'expires')
  if expires then redis.call('ZADD', files_due, 'XX', expires, string.match(input, '[^:]+$')) end
end
if redis.call('HEXISTS', input, 'for_one') == 1 then redis.call('UNLINK', KEYS[23]) end
if facts[4] or redis.call('EXISTS', KEYS[24]) == 1 then redis.call('ZADD', announce, now, id) end
redis.call('ZADD', due, now + tonumber(ARGV[6]), id)
redis.call('PEXPIRE', batch, tonumber(ARGV[6]) + 86400000)
redis.call('PUBLISH', ARGV[8], id)
redis.call('PUBLISH', ARGV[9], id)
return 'ended'
