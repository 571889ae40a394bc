-- Deletes a tenant's webhook endpoint, with its secrets. What is on its way to it ends when it is next tried, and what waits for it
-- is looked at.
-- KEYS: endpoint, endpoints of the tenant, target, targets that are due
-- ARGV: id, tenant
-- Output: 1 | 0 (there is none)
local endpoint, index, target = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', endpoint, 'tenant') ~= ARGV[2] then return 0 end
redis.call('UNLINK', endpoint, target)
redis.call('ZREM', index, ARGV[1])
redis.call('ZADD', KEYS[4], 0, ARGV[1])
return 1
