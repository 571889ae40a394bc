-- Takes days that are over and not exported yet: nobody else gets them until a while has passed, in which they are exported and
-- taken off, or their taker died.
-- KEYS: days
-- ARGV: now_ms ('' = Redis TIME), days at most, ms they are taken for
-- Output: {'<day> <tenant>', ...}
local days = KEYS[1]
-- @include now
local due = redis.call('ZRANGE', days, '-inf', now, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[2]))
for _, member in ipairs(due) do redis.call('ZADD', days, now + tonumber(ARGV[3]), member) end
return due
