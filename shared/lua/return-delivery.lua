-- Takes a delivery that is on its way, and was not claimed, back: it waits in its old place, and its target is left alone for
-- a moment.
-- KEYS: delivery
-- ARGV: now_ms ('' = Redis TIME), settings, delivery id, target, ms for which the target is left alone
-- Output: 'returned' | 'left'
-- @include now
-- @include delivery-settings
-- @include feed-target
local delivery, id, target = KEYS[1], ARGV[3], ARGV[4]
local record = redis.call('HMGET', delivery, 'state', 'lease', 'due')
if record[1] ~= 'pending' or (tonumber(record[2] or nil) or 0) > now then return 'left' end
if redis.call('ZREM', set.flight .. target, id) == 0 then return 'left' end
redis.call('ZADD', set.due .. target, record[3], id)
rest_target(target, tonumber(ARGV[5]))
feed_target(target, false, {})
return 'returned'
