-- Writes a webhook endpoint: a new one while its tenant has room for it, or over the very state that was read. Of two that
-- write at once one is told that it has read too early. Where it begins anew, what was known of its failures is forgotten in the
-- same step, and what waits for it is looked at.
-- KEYS: endpoint, endpoints of the tenant, its target, targets that are due
-- ARGV: id, revision that was read ('' = a new one), most that a tenant may have, its creation in ms (for a new one), begins anew
--       (1 | 0), then field, value, ... to write
-- Output: 'written' | 'full' | 'stale' (changed or deleted since it was read)
local endpoint, index = KEYS[1], KEYS[2]
local id, revision = ARGV[1], ARGV[2]
if (redis.call('HGET', endpoint, 'revision') or '') ~= revision then return 'stale' end
if revision == '' then
  if redis.call('ZCARD', index) >= tonumber(ARGV[3]) then return 'full' end
  redis.call('ZADD', index, ARGV[4], id)
end
redis.call('HINCRBY', endpoint, 'revision', 1)
redis.call('HSET', endpoint, unpack(ARGV, 6))
if ARGV[5] == '1' then
  redis.call('UNLINK', KEYS[3])
  redis.call('ZADD', KEYS[4], 0, id)
end
return 'written'
