-- Forgets a file whose bytes are removed.
-- KEYS: file, due
-- ARGV: id
-- Output: 1 when it was forgotten, 0 when it is not to be
local file, due = KEYS[1], KEYS[2]
if redis.call('HGET', file, 'source') ~= 'going' then return 0 end
redis.call('DEL', file)
redis.call('ZREM', due, ARGV[1])
return 1
