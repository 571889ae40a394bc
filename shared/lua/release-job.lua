-- An ended job that was kept only until its result was delivered, which it was, goes soon. One that a webhook is still to be
-- told of stays as long as that takes.
-- KEYS: job, due, announce
-- ARGV: now_ms ('' = Redis TIME), id, ms it is kept from now on
-- Output: 1 when it goes, 0 when it stays as it is
local job, due, announce, id, ms = KEYS[1], KEYS[2], KEYS[3], ARGV[2], tonumber(ARGV[3])
-- @include now
local record = redis.call('HMGET', job, 'expires', 'telling')
if not record[1] or tonumber(record[1]) <= now + ms then return 0 end
if (tonumber(record[2]) or 0) > 0 or redis.call('ZSCORE', announce, id) then return 0 end
redis.call('ZADD', due, now + ms, id)
redis.call('HSET', job, 'expires', now + ms)
return 1
