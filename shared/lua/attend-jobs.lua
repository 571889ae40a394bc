-- Notes that somebody waits for jobs, for so long from now on: new ones are put in, of the others only those that are still there.
-- KEYS: attended
-- ARGV: now_ms ('' = Redis TIME), ms, '1' = they are new, then ids
-- Output: how many are in
local attended, ms, option = KEYS[1], tonumber(ARGV[2]), ARGV[3] == '1' and 'GT' or 'XX'
-- @include now
for at = 4, #ARGV do redis.call('ZADD', attended, option, now + ms, ARGV[at]) end
return redis.call('ZCARD', attended)
