-- The input is valid: the batch takes the keys of its lines' credentials for itself and starts, or is to be finished at once
-- when it was stopped meanwhile.
-- KEYS: those of a batch's step (include/batch-step), input file, keys of its lines
-- ARGV: now_ms ('' = Redis TIME), id, chunk, token, ms after which an entry that nobody claimed is looked for, lines, model
--       ('' = they differ), channel
-- Output: {'begun', finish to be enqueued 1|0, tenants waiting} | {'fenced'} | {'credentials_erased'}
local unclaimed_ms = tonumber(ARGV[5])
-- @include now
-- @include batch-step
local input, input_keys = KEYS[15], KEYS[16]
if redis.call('HGET', chunk, 'token') ~= ARGV[4] then return { 'fenced' } end
if redis.call('HGET', input, 'credentials') == '1' and redis.call('EXISTS', line_keys) == 0 then
  if redis.call('EXISTS', input_keys) == 0 then return { 'credentials_erased' } end
  redis.call('RENAME', input_keys, line_keys)
end
redis.call('HSET', batch, 'total', ARGV[6])
if ARGV[7] ~= '' then redis.call('HSET', batch, 'model', ARGV[7]) end
if not redis.call('HGET', batch, 'ending') then redis.call('HSET', batch, 'status', 'in_progress', 'started', now) end
leave(1)
offer()
redis.call('PUBLISH', ARGV[8], id)
return { 'begun', check_end(), redis.call('LLEN', tenants) }
