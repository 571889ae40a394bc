-- Writes a webhook endpoint: a new one while its tenant has room for it, or over the very state that was read. Of two that
-- write at once one is told that it has read too early.
-- KEYS: endpoint, endpoints of the tenant
-- ARGV: id, revision that was read ('' = a new one), most that a tenant may have, its creation in ms (for a new one),
--       then field, value, ... to write
-- Output: 'written' | 'full' | 'stale' (changed or deleted since it was read)
local endpoint, index = KEYS[1], KEYS[2]
local id, revision = ARGV[1], ARGV[2]
if (redis.call('HGET', endpoint, 'revision') or '') ~= revision then return 'stale' end
if revision == '' then
  if redis.call('ZCARD', index) >= tonumber(ARGV[3]) then return 'full' end
  redis.call('ZADD', index, ARGV[4], id)
end
redis.call('HINCRBY', endpoint, 'revision', 1)
redis.call('HSET', endpoint, unpack(ARGV, 5))
return 'written'
