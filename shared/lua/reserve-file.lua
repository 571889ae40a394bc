-- Notes that bytes of a file are about to be written: they are removed when no file is made of them in time.
-- KEYS: file, due, use
-- ARGV: now_ms ('' = Redis TIME), id, tenant, ms it may take, bytes that the tenant's files may be
-- Output: {'reserved' | 'full', bytes of the tenant's files}
local file, due, use, id, tenant = KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[3]
-- @include now
local used = tonumber(redis.call('HGET', use, tenant) or 0)
if used >= tonumber(ARGV[5]) then return { 'full', used } end
redis.call('HSET', file, 'source', 'coming')
redis.call('ZADD', due, now + tonumber(ARGV[4]), id)
return { 'reserved', used }
