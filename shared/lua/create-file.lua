-- Makes a file of bytes that are in the store, if its tenant has room for them. Safe to send twice.
-- KEYS: file, keys of its lines, files of the tenant, due, use
-- ARGV: now_ms ('' = Redis TIME), id, tenant, bytes, bytes that the tenant's files may be, ms it is kept ('' = until it is
--       deleted), keys of its lines ('' = none), then field, value, ... of the record
-- Output: {'created', created ms} | {'full', bytes of the tenant's files} | {'gone'} (not reserved, or not any more)
local file, line_keys, index, due, use = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, tenant, bytes = ARGV[2], ARGV[3], tonumber(ARGV[4])
-- @include now
local known = redis.call('HMGET', file, 'source', 'created')
if known[2] then return { 'created', tonumber(known[2]) } end
if known[1] ~= 'coming' then return { 'gone' } end
local used = tonumber(redis.call('HGET', use, tenant) or 0)
if used + bytes > tonumber(ARGV[5]) then return { 'full', used } end

redis.call('HSET', file, 'tenant', tenant, 'created', now, 'bytes', bytes, 'uses', 0, 'source', 'upload', unpack(ARGV, 8))
redis.call('HINCRBY', use, tenant, bytes)
redis.call('ZADD', index, now, id)
if ARGV[7] ~= '' then
  redis.call('HSET', file, 'credentials', 1)
  redis.call('SET', line_keys, ARGV[7])
end
if ARGV[6] == '' then
  redis.call('ZREM', due, id)
else
  redis.call('HSET', file, 'expires', now + tonumber(ARGV[6]))
  redis.call('ZADD', due, now + tonumber(ARGV[6]), id)
end
return { 'created', now }
