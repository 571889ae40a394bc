-- Lets nothing more be sent to a webhook endpoint, and announces that to its tenant's others. One that is disabled, or was
-- deleted meanwhile, stays as it is.
-- KEYS: endpoint, announce
-- ARGV: now_ms ('' = Redis TIME), id, reason
-- Output: 1 | 0 (it was so before)
local endpoint, announce = KEYS[1], KEYS[2]
-- @include now
local disabled = redis.call('HMGET', endpoint, 'revision', 'disabled')
if not disabled[1] or disabled[2] ~= '' then return 0 end
redis.call('HSET', endpoint, 'disabled', now, 'reason', ARGV[3])
redis.call('HINCRBY', endpoint, 'revision', 1)
redis.call('ZADD', announce, now, ARGV[2])
return 1
