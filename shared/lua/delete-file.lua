-- Takes a file out of sight and frees its room; its bytes are removed next, then forget-file.lua forgets it. Whoever dies in
-- between, the sweeper goes on: the file is due. Safe to send twice.
-- KEYS: file, keys of its lines, files of the tenant, due, use, gone
-- ARGV: now_ms ('' = Redis TIME), id, tenant, why: 'asked' by the tenant | 'due' | 'given_up' before it was made,
--       ms after which one that is due and in use is looked at again, ms for which a list may go on after it
-- Output: {'going', batch, part} ('': no output of a batch) | {'gone'} | {'in_use'} | {'kept'} (not due yet)
local file, line_keys, index, due, use = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, tenant, why = ARGV[2], ARGV[3], ARGV[4]
-- @include now
local facts = redis.call('HMGET', file, 'source', 'tenant', 'uses', 'expires', 'bytes', 'batch', 'part')
local source, batch, part = facts[1], facts[6] or '', facts[7] or ''
local is_made = source == 'upload' or source == 'batch'
if not source then redis.call('ZREM', due, id) end
if source == 'going' and why == 'due' then return { 'going', batch, part } end
local is_coming = source == 'coming' and why ~= 'asked'
local is_theirs = is_made and why ~= 'given_up' and facts[2] == tenant
if not is_coming and not is_theirs then return { 'gone' } end
if why == 'due' and (tonumber(redis.call('ZSCORE', due, id)) or now + 1) > now then return { 'kept' } end
if tonumber(facts[3] or 0) > 0 then
  if why == 'due' then redis.call('ZADD', due, now + tonumber(ARGV[5]), id) end
  return { 'in_use' }
end

if is_made and redis.call('HINCRBY', use, tenant, 0 - tonumber(facts[5])) <= 0 then redis.call('HDEL', use, tenant) end
local place = redis.call('ZSCORE', index, id)
if place then redis.call('SET', KEYS[6], place, 'PX', ARGV[6]) end
redis.call('ZREM', index, id)
redis.call('UNLINK', line_keys)
redis.call('DEL', file)
redis.call('HSET', file, 'source', 'going', 'batch', batch, 'part', part)
redis.call('ZADD', due, now, id)
return { 'going', batch, part }
