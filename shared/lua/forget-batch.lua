-- Forgets an ended batch whose retention is over, with its place in its tenant's list.
-- KEYS: batch, index of its tenant, due
-- ARGV: now_ms ('' = Redis TIME), id
-- Output: 1 when it was forgotten, 0 when it is not (or no longer) to be
local batch, index, due, id = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
-- @include now
local ended, expires = unpack(redis.call('HMGET', batch, 'ended', 'expires'))
if redis.call('EXISTS', batch) == 1 and (not ended or tonumber(expires) > now) then return 0 end
redis.call('ZREM', index, id)
redis.call('ZREM', due, id)
redis.call('UNLINK', batch)
return 1
